// Bits without lanes: a comparison of two integers that are linear in k is true for one run of
// keys, or for all but one key.
#pragma once

#include <algorithm>
#include <cstdint>

#include "expr.h"
#include "semantics.h"

namespace pagoda::mask {

struct Linear {
  int64_t base, slope;  // base + slope * k
};

// Small enough that no sum below leaves 64 bits, for keys below 2^32.
inline bool is_tame(const Linear& it) {
  constexpr int64_t kBase = int64_t{1} << 60, kSlope = int64_t{1} << 27;
  return it.base > -kBase && it.base < kBase && it.slope > -kSlope && it.slope < kSlope;
}

// Sets the bits [from, to) of a row that begins at 0 and clears the others.
inline void fill_run(int64_t from, int64_t to, uint32_t* bits, int words) {
  for (int w = 0; w < words; ++w) {
    const int64_t begin = std::clamp<int64_t>(from - int64_t{32} * w, 0, 32);
    const int64_t end = std::clamp<int64_t>(to - int64_t{32} * w, 0, 32);
    const auto below = [](int64_t n) { return static_cast<uint32_t>((uint64_t{1} << n) - 1); };
    bits[w] = below(end) & ~below(begin);
  }
}

// The keys k of [first, first + 32 * words) with slope * k + base <= 0.
inline void fill_at_most_zero(const Linear& d, int64_t first, uint32_t* bits, int words) {
  const int64_t width = int64_t{32} * words;
  int64_t from = 0, to = width;
  if (d.slope == 0) {
    to = d.base <= 0 ? width : 0;
  } else if (d.slope > 0) {
    const int64_t last = d.slope == 1 ? -d.base : floor_divide(-d.base, d.slope);
    to = last - first + 1;
  } else {
    from = (d.slope == -1 ? d.base : -floor_divide(-d.base, -d.slope)) - first;
  }
  fill_run(from, to, bits, words);
}

inline void fill_zero(const Linear& d, int64_t first, uint32_t* bits, int words) {
  if (d.slope == 0) return fill_run(0, d.base == 0 ? int64_t{32} * words : 0, bits, words);
  if (floor_modulo(-d.base, d.slope) != 0) return fill_run(0, 0, bits, words);
  const int64_t at = floor_divide(-d.base, d.slope) - first;
  fill_run(at, at + 1, bits, words);
}

// bits: [words]. a and b are tame.
inline void fill_threshold(Op op, const Linear& a, const Linear& b, int64_t first, uint32_t* bits,
                           int words) {
  const Linear d{a.base - b.base, a.slope - b.slope};
  switch (op) {
    case Op::less:
      return fill_at_most_zero({d.base + 1, d.slope}, first, bits, words);
    case Op::less_equal:
      return fill_at_most_zero(d, first, bits, words);
    case Op::greater:
      return fill_at_most_zero({1 - d.base, -d.slope}, first, bits, words);
    case Op::greater_equal:
      return fill_at_most_zero({-d.base, -d.slope}, first, bits, words);
    default:
      fill_zero(d, first, bits, words);
      if (op == Op::not_equal)
        for (int w = 0; w < words; ++w) bits[w] = ~bits[w];
  }
}

}  // namespace pagoda::mask

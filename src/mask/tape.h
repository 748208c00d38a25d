// Rows of bits that are all pieces of one. Where what is seen depends on q - k alone, the row of
// the next query is the row before moved by one key, so the rows of the first and the last query
// hold every bit of those between: laid behind one another they are a tape, and a row is read from
// it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace pagoda::mask {

// Words of the tape for rows of `words` words.
constexpr int64_t tape_words(int64_t words) {
  return 2 * words + 1;
}

// Whether the rows of queries `distance` apart, of which the first `valid` bits mean something,
// leave no gap.
constexpr bool fits_tape(int64_t distance, int64_t valid) {
  return distance <= valid;
}

// The last query's row comes first. tape: [tape_words(words)]; rows: [words].
inline void lay_tape(const uint32_t* first_row, const uint32_t* last_row, int64_t distance,
                     int64_t valid, int64_t words, uint32_t* tape) {
  const auto below = [valid](int64_t w) {
    return static_cast<uint32_t>((uint64_t{1} << std::clamp<int64_t>(valid - 32 * w, 0, 32)) - 1);
  };
  std::fill_n(tape, tape_words(words), 0u);
  for (int64_t w = 0; w < words; ++w) {
    const uint64_t moved = uint64_t{first_row[w] & below(w)} << distance % 32;
    tape[distance / 32 + w] |= static_cast<uint32_t>(moved);
    tape[distance / 32 + w + 1] |= static_cast<uint32_t>(moved >> 32);
  }
  for (int64_t w = 0; w < words; ++w) tape[w] = (tape[w] & ~below(w)) | (last_row[w] & below(w));
}

// Word w of the row of the query `before_last` before the last one.
inline uint32_t tape_word(const uint32_t* tape, int64_t before_last, size_t w) {
  const uint32_t* at = tape + before_last / 32 + w;
  const int shift = static_cast<int>(before_last % 32);
  return at[0] >> shift | at[1] << 1 << (31 - shift);
}

// Whether none of the first `count` bits begins a run of `length` equal bits within them.
inline bool is_mixed(const uint32_t* bits, int64_t count, int64_t length) {
  int64_t begin = 0;
  uint32_t before = bits[0] & 1;
  for (int64_t w = 0; 32 * w < count; ++w) {
    uint32_t changes = bits[w] ^ (bits[w] << 1 | before);
    before = bits[w] >> 31;
    for (; changes != 0; changes &= changes - 1) {
      const int64_t at = std::min<int64_t>(32 * w + std::countr_zero(changes), count);
      if (at - begin >= length) return false;
      begin = at;
    }
  }
  return count - begin < length;
}

}  // namespace pagoda::mask

// What is known of a value all over a box of positions: bounds, and for integers a form that is
// linear in q and k, so that q - k does not forget that both move together. Every rule here is
// sound: the value at each point of the box lies within what its rule answers. Where a sum may
// leave 64 bits the answer is "anything", since values wrap.
#pragma once

#include <cstdint>
#include <limits>

#include "expr.h"

namespace pagoda::mask {

// The values that each variable takes, both ends included. Positions stay below 2^32 in magnitude.
struct Box {
  int64_t low[kNumVariables - 1], high[kNumVariables - 1];  // by Variable, without the score

  // Known of every pair that exists: q - k is at least this. With one query per step no key lies
  // ahead of it, which makes a causal mask full to the last key.
  int64_t min_distance = std::numeric_limits<int64_t>::min();

  // Whether seq_len is q + 1 throughout, as it is while a request decodes token by token.
  bool ends_with_query = false;

  void set(Variable which, int64_t from, int64_t to) {
    low[static_cast<int>(which)] = from;
    high[static_cast<int>(which)] = to;
  }
  int64_t low_of(Variable which) const { return low[static_cast<int>(which)]; }
  int64_t high_of(Variable which) const { return high[static_cast<int>(which)]; }
};

// An integer v: low <= v <= high, and v = per_q * q + per_k * k + b with base_low <= b <=
// base_high.
struct IntForm {
  int64_t low, high;
  int64_t per_q, per_k;
  int64_t base_low, base_high;
};

struct RealForm {
  float low, high;
  bool may_be_nan;  // NaN is outside the bounds
};

enum class Truth : uint8_t { empty = 1, full = 2, undecided = 3 };  // bits: may be false, true

// Whether it is per_q * q + per_k * k + one number.
inline constexpr bool is_exact(const IntForm& a) {
  return a.base_low == a.base_high;
}

inline constexpr IntForm anything() {
  constexpr int64_t kLow = std::numeric_limits<int64_t>::min();
  constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  return {kLow, kHigh, 0, 0, kLow, kHigh};
}
inline constexpr IntForm between(int64_t low, int64_t high) {
  return {low, high, 0, 0, low, high};
}
inline constexpr RealForm any_real() {
  return {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity(), true};
}

IntForm unary(Op op, const IntForm& a);
IntForm binary(Op op, const IntForm& a, const IntForm& b, const Box& box);
RealForm to_real(const IntForm& a);
RealForm unary(Op op, const RealForm& a);
RealForm binary(Op op, const RealForm& a, const RealForm& b);

Truth compare(Op op, const IntForm& a, const IntForm& b, const Box& box);

// Whether both numbers, or their difference, are the same for every pair of the same distance.
bool difference_is_of_distance(const IntForm& a, const IntForm& b, const Box& box);
Truth compare(Op op, const RealForm& a, const RealForm& b);
Truth negated(Truth a);
Truth conjunction(Truth a, Truth b);
Truth disjunction(Truth a, Truth b);

// Either of the two.
IntForm hull(const IntForm& a, const IntForm& b);
RealForm hull(const RealForm& a, const RealForm& b);

}  // namespace pagoda::mask

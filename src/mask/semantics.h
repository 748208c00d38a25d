// What the operators do, once, for every evaluator.
//
// Integers have 64 bits; sums, differences, products, negation and abs wrap around modulo 2^64.
// Floor division and modulo satisfy a == (a // b) * b + a % b for every a and b: a // 0 is 0 and
// a % 0 is a. Reals are IEEE single precision, one rounding per operator. min(a, b) is a < b ? a :
// b and max(a, b) is a > b ? a : b, so a NaN on either side gives b. Comparisons with a NaN are
// false, except '!='.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "expr.h"

namespace pagoda::mask {

template <class T>
constexpr T wrap_add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

template <class T>
constexpr T wrap_subtract(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) - static_cast<U>(b));
  } else {
    return a - b;
  }
}

template <class T>
constexpr T wrap_multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
  } else {
    return a * b;
  }
}

template <class T>
constexpr T wrap_negate(T a) {
  if constexpr (std::is_integral_v<T>)
    return wrap_subtract(T(0), a);
  else
    return -a;
}

template <class T>
inline T absolute(T a) {
  if constexpr (std::is_integral_v<T>)
    return a < 0 ? wrap_negate(a) : a;
  else
    return std::fabs(a);
}

template <class T>
constexpr T floor_divide(T a, T b) {
  if (b == 0) return 0;
  if (b == -1) return wrap_negate(a);
  if (b > 0 && (b & (b - 1)) == 0)
    return a >> std::countr_zero(static_cast<std::make_unsigned_t<T>>(b));
  const T quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

template <class T>
constexpr T floor_modulo(T a, T b) {
  if (b == 0) return a;
  if (b == -1) return 0;
  if (b > 0 && (b & (b - 1)) == 0) return a & (b - 1);
  const T rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

template <class T>
constexpr T minimum(T a, T b) {
  return a < b ? a : b;
}

template <class T>
constexpr T maximum(T a, T b) {
  return a > b ? a : b;
}

// A value of any type; the field in use is known from the node. A boolean is 0 or 1 in `i`.
struct Value {
  int64_t i = 0;
  float f = 0;
};

// The value of an inner node that is not a lookup. `type` is that of the arguments (of a select:
// of its two values).
Value apply(Op op, Type type, const Value& a, const Value& b, const Value& c);

}  // namespace pagoda::mask

// Host and device. The 8-bit float e4m3 (1 sign, 4 exponent with bias 7, 3 mantissa bits): no
// infinities, one NaN per sign, largest value 448, smallest subnormal 2^-9.
#pragma once

#include "dtype.h"

namespace pagoda {

struct E4m3 {
  uint8_t bits;
};

inline constexpr float kMaxE4m3 = 448;

PAGODA_HD inline float to_float(E4m3 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x80u) << 24;
  const uint32_t exponent = (value.bits >> 3) & 15u, mantissa = value.bits & 7u;
  if (exponent == 15 && mantissa == 7) return float_from_bits(sign | 0x7fc00000u);
  if (exponent != 0) return float_from_bits(sign | ((exponent + 120) << 23) | (mantissa << 20));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;  // exact
  return float_from_bits(bits_of_float(magnitude) | sign);
}

// Round to nearest even, saturating: beyond the largest value, infinities included, is the largest
// value. NaN stays NaN.
template <>
PAGODA_HD inline E4m3 from_float<E4m3>(float value) {
  const uint32_t bits = bits_of_float(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint8_t>(sign | 0x7fu)};
  if (magnitude >= 0x43e00000u) return {static_cast<uint8_t>(sign | 0x7eu)};  // 448 and beyond
  if (magnitude < 0x3c800000u) {  // below 2^-6: adding 2^14 aligns the last kept bit with float's
    const uint32_t aligned = bits_of_float(float_from_bits(magnitude) + 0x1p14f);
    return {static_cast<uint8_t>(sign | (aligned - 0x46800000u))};
  }
  const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
  return {static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)))};
}

}  // namespace pagoda

// Host and device. Element types and the conversions of the 16-bit ones, in one place: round to
// nearest even, NaN stays NaN, subnormals are kept.
#pragma once

#include <pagoda/pagoda.h>

#include <cstddef>
#include <cstdint>

#include "hd.h"

namespace pagoda {

using Dtype = pagoda_dtype;

PAGODA_HD constexpr bool is_known(Dtype dtype) {
  return dtype >= PAGODA_F32 && dtype <= PAGODA_INT8;
}

PAGODA_HD constexpr size_t size_of(Dtype dtype) {
  return dtype == PAGODA_F32 ? 4 : dtype == PAGODA_F16 || dtype == PAGODA_BF16 ? 2 : 1;
}

constexpr const char* name_of(Dtype dtype) {
  switch (dtype) {
    case PAGODA_F32:
      return "f32";
    case PAGODA_F16:
      return "f16";
    case PAGODA_BF16:
      return "bf16";
    case PAGODA_FP8_E4M3:
      return "fp8_e4m3";
    case PAGODA_INT8:
      return "int8";
  }
  return "unknown";
}

// The bits of 16-bit floats. Distinct types, so that one is not read as the other.
struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

PAGODA_HD inline float float_from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
PAGODA_HD inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

PAGODA_HD inline float to_float(float value) {
  return value;
}

PAGODA_HD inline float to_float(Bfloat16 value) {
  return float_from_bits(static_cast<uint32_t>(value.bits) << 16);
}

PAGODA_HD inline float to_float(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t exponent = (value.bits >> 10) & 31u, mantissa = value.bits & 1023u;
  if (exponent == 31) return float_from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // exact
  return float_from_bits(bits_of_float(magnitude) | sign);
}

template <class T>
PAGODA_HD T from_float(float value);

template <>
PAGODA_HD inline float from_float<float>(float value) {
  return value;
}

template <>
PAGODA_HD inline Bfloat16 from_float<Bfloat16>(float value) {
  const uint32_t bits = bits_of_float(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 64u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <>
PAGODA_HD inline Half from_float<Half>(float value) {
  const uint32_t bits = bits_of_float(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u)
    return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds past 65504
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 aligns the last kept bit with float's
    const uint32_t aligned = bits_of_float(float_from_bits(magnitude) + 0.5f);
    return {static_cast<uint16_t>(sign | (aligned - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)))};
}

}  // namespace pagoda

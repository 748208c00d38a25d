#include "engine/math/convert.h"

#include <bit>

#include "engine/formats/quants.h"

namespace pagoda::engine {

uint16_t float_to_bfloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14: adding 1/2 lines the result's last bit up with that of a subnormal half.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3f000000));
  }
  const uint32_t rebased = magnitude - ((127 - 15) << 23);
  return static_cast<uint16_t>(sign | (rebased + 0xfff + (rebased >> 13 & 1)) >> 13);
}

void floats_to_halves(const float* in, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; i++) out[i] = float_to_half(in[i]);
}

void floats_to_bfloats(const float* in, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; i++) out[i] = float_to_bfloat(in[i]);
}

void halves_to_floats(const uint16_t* in, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i++) out[i] = half_to_float(in[i]);
}

void bfloats_to_floats(const uint16_t* in, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i++) out[i] = bfloat_to_float(in[i]);
}

}  // namespace pagoda::engine

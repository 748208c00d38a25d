// Rows of floats to the 16-bit types that attention may work in, and back. Rounds to nearest, ties
// to even.
#pragma once

#include <cstdint>

namespace pagoda::engine {

uint16_t float_to_half(float value);
uint16_t float_to_bfloat(float value);

void floats_to_halves(const float* in, int64_t size, uint16_t* out);   // [size]
void floats_to_bfloats(const float* in, int64_t size, uint16_t* out);  // [size]
void halves_to_floats(const uint16_t* in, int64_t size, float* out);   // [size]
void bfloats_to_floats(const uint16_t* in, int64_t size, float* out);  // [size]

}  // namespace pagoda::engine

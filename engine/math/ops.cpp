#include "engine/math/ops.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace pagoda::engine {
namespace {

// Sums of a fixed number of lanes, however wide the machine's vectors are.
constexpr int64_t kLanes = 16;

template <class Term>
float sum_of(int64_t size, const Term& term) {
  float lanes[kLanes] = {};
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; lane++) lanes[lane] += term(i + lane);
  for (int64_t i = whole; i < size; i++) lanes[i - whole] += term(i);
  for (int64_t step = kLanes / 2; step > 0; step /= 2)
    for (int64_t lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
  return lanes[0];
}

constexpr float kLog2e = 1.44269504f;
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kRoundToInt = 12582912.0f;  // 1.5 * 2^23: adding it leaves no fraction bits

// exp(x) = 2^n * exp(r) with |r| <= ln(2) / 2; exp(r) by its series to the 7th power, whose
// remainder is below 2^-27. ln(2) is taken away in two parts, so that r is exact to the last bit.
inline float exp_inline(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float shifted = x * kLog2e + kRoundToInt;
  const float n = shifted - kRoundToInt;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const auto exponent = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRoundToInt))
                        << 23;
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + exponent);
}

}  // namespace

float fast_exp(float x) {
  return exp_inline(x);
}

void rms_norm(const float* in, const float* weight, float epsilon, int64_t size, float* out) {
  const auto square = [in](int64_t i) { return in[i] * in[i]; };
  const float mean = sum_of(size, square) / static_cast<float>(size);
  const float scale = 1.0f / std::sqrt(mean + epsilon);
  for (int64_t i = 0; i < size; i++) out[i] = in[i] * scale * weight[i];
}

void layer_norm(const float* in, const float* weight, const float* bias, float epsilon,
                int64_t size, float* out) {
  const auto count = static_cast<float>(size);
  const float mean = sum_of(size, [in](int64_t i) { return in[i]; }) / count;
  const auto deviation = [in, mean](int64_t i) { return (in[i] - mean) * (in[i] - mean); };
  const float scale = 1.0f / std::sqrt(sum_of(size, deviation) / count + epsilon);
  for (int64_t i = 0; i < size; i++) out[i] = (in[i] - mean) * scale * weight[i] + bias[i];
}

void gelu(const float* in, int64_t size, float* out) {
  constexpr float kInverseSqrt2 = 0.70710678f;
  for (int64_t i = 0; i < size; i++)
    out[i] = 0.5f * in[i] * (1.0f + std::erf(in[i] * kInverseSqrt2));
}

void silu_times(const float* gate, const float* up, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i++) out[i] = gate[i] / (1.0f + exp_inline(-gate[i])) * up[i];
}

}  // namespace pagoda::engine

#include "engine/math/ops.h"

#include <cmath>

#include "engine/math/isa/kernels.h"

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

}  // namespace

void rms_norm(const float* in, const float* weight, float epsilon, int64_t size, float* out) {
  scalar::kKernels.rms_norm(in, weight, epsilon, size, out);
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
  scalar::kKernels.silu_times(gate, up, size, out);
}

}  // namespace pagoda::engine

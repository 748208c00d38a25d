// Device only. The logit of core/score.h in base 2, as the kernels compute it: fast instructions, no
// branch but uniform ones.
#pragma once

#include <cmath>

#include "../attend_params.h"
#include "ptx.cuh"

namespace pagoda::cuda {

inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;

// cap * tanh(x / cap) as cap * (1 - 2 / (exp(2 x / cap) + 1)): saturates at both ends, and its error
// is a rounding of `cap`, where the tanh instruction has 2^-11.
__device__ inline float apply_cap(const Score2& score, float qk) {
  return score.cap - 2 * score.cap * rcp_approx(exp2_approx(qk * score.scale) + 1);
}

// slope2: the head's slope * log2(e). Without a branch between the two kinds.
__device__ inline float alibi2(bool linear, float slope2, int position, int key) {
  const float distance = static_cast<float>(key - position);
  return slope2 * (linear ? distance : -sqrt_approx(fmaxf(-distance, 0)));
}

// For logits that carry more than the scale; the plain case is one multiplication in the kernels.
__device__ inline float logit2(const Score2& score, float qk, float slope2, int position, int key) {
  float s = score.cap > 0 ? apply_cap(score, qk) : qk * score.scale;
  if (score.alibi != Alibi::none) s += alibi2(score.alibi == Alibi::linear, slope2, position, key);
  return s;
}

// A finite stand-in for the largest logit of a row that has seen nothing, so that differences from
// it are never NaN.
__device__ inline float finite_or_zero(float m) {
  return m == -INFINITY ? 0.0f : m;
}

}  // namespace pagoda::cuda

// Host and device. The rules by which a token is drawn on the device, where a sum has no fixed
// order: weights are integers, so that every order of summing gives the same total, and the order
// of tokens is that of integer keys. With them a draw is a search: for the first key at which the
// weights of all keys up to it exceed a target.
#pragma once

#include <cstdint>

#include "engine/sample/random.h"

namespace pagoda::engine::cuda {

// How one token is drawn; SamplingOptions has the meanings.
struct DrawParams {
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;  // of the tokens in this draw's row of the seen bits
  uint64_t seed = 0;
  uint64_t counter = 0;
};

struct DrawnToken {
  int32_t token;  // -1 if no logit is finite
  float logit;    // the largest, after the penalty
};

inline constexpr int kTokenBits = 24;      // of a key: ties go to the lower token id
inline constexpr int kDeltaFraction = 24;  // bits behind the point of a distance between logits
inline constexpr int kWeightBits = 40;     // behind the point of a weight; 2^24 of them fit 64 bits
inline constexpr float kMaxDelta = 32768;  // logits further below the largest are one

// The order of tokens, the most probable first. top: the largest logit, finite.
constexpr uint64_t key_of(float top, float logit, int32_t token) {
  const float delta = top - logit;
  const float clamped = delta < kMaxDelta ? delta : kMaxDelta;  // NaN cannot occur: top is finite
  const auto distance = static_cast<uint64_t>(clamped * static_cast<float>(1 << kDeltaFraction));
  return distance << kTokenBits | static_cast<uint32_t>(token);
}

constexpr int32_t token_of(uint64_t key) {
  return static_cast<int32_t>(key & ((1u << kTokenBits) - 1));
}

// weight: exp((logit - top) / temperature), at most 1.
constexpr uint64_t fixed_weight(float weight) {
  return static_cast<uint64_t>(weight * static_cast<float>(uint64_t{1} << kWeightBits));
}

constexpr float penalised(float logit, float penalty) {
  return logit > 0 ? logit / penalty : logit * penalty;
}

// The k-th key is the first at which the number of keys up to it exceeds this.
constexpr uint64_t top_k_target(int32_t top_k) {
  return static_cast<uint64_t>(top_k) - 1;
}

// The nucleus ends with the first key at which the weights reach top_p of their total.
constexpr uint64_t top_p_target(float top_p, uint64_t total) {
  const double share = double{top_p} * static_cast<double>(total);
  const auto whole = static_cast<uint64_t>(share);
  const uint64_t reached = whole + (static_cast<double>(whole) < share ? 1 : 0);
  return (reached < 1 ? 1 : reached > total ? total : reached) - 1;
}

// total: at least 1; the largest weight alone is 2^kWeightBits.
constexpr uint64_t draw_target(const DrawParams& draw, uint64_t total) {
  const auto target =
      static_cast<uint64_t>(uniform(draw.seed, draw.counter) * static_cast<double>(total));
  return target < total ? target : total - 1;
}

// Whether candidates are drawn from in the order of their probabilities, or of their ids.
constexpr bool draws_by_probability(const DrawParams& draw, int32_t vocab_size) {
  return draw.top_p < 1 || (draw.top_k > 0 && draw.top_k < vocab_size);
}

}  // namespace pagoda::engine::cuda

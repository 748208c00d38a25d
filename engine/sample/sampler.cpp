#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/error.h"
#include "engine/sample/random.h"

namespace pagoda::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class T>
void check_option(bool ok, const char* name, T value, const char* range) {
  require(ok, ErrorKind::kInvalidArgument, name, " is ", value, ", it must be ", range);
}

// The largest, or -infinity of none; a NaN is none. In lanes, so that it becomes vector code.
float largest_of(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -kInfinity);
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes)
    for (size_t lane = 0; lane < kLanes; lane++)
      lanes[lane] = logits[i + lane] > lanes[lane] ? logits[i + lane] : lanes[lane];
  for (size_t i = whole; i < logits.size(); i++)
    lanes[i - whole] = logits[i] > lanes[i - whole] ? logits[i] : lanes[i - whole];
  return *std::max_element(lanes, lanes + kLanes);
}

// The first of the largest. A piece at a time, because looking for a place is slower than looking
// for a value.
int32_t largest(std::span<const float> logits) {
  constexpr size_t kPiece = 512;
  float best = -kInfinity;
  size_t piece = 0;
  for (size_t i = 0; i < logits.size(); i += kPiece) {
    const float here = largest_of(logits.subspan(i, std::min(kPiece, logits.size() - i)));
    if (here <= best) continue;
    best = here;
    piece = i;
  }
  const auto begin = logits.begin() + static_cast<ptrdiff_t>(piece);
  const auto at = std::find(begin, logits.end(), best) - logits.begin();
  return at < std::ssize(logits) ? static_cast<int32_t>(at) : 0;
}

float without_nan(float logit) {
  return std::isnan(logit) ? -kInfinity : logit;
}

}  // namespace

void check_sampling(const SamplingOptions& options) {
  const auto finite = [](float value) { return std::isfinite(value); };
  check_option(finite(options.temperature) && options.temperature >= 0, "temperature",
               options.temperature, "0 (greedy) or above");
  check_option(options.top_k >= 0, "top-k", options.top_k, "0 (all tokens) or above");
  check_option(options.top_p > 0 && options.top_p <= 1, "top-p", options.top_p,
               "above 0 and at most 1");
  check_option(options.min_p >= 0 && options.min_p <= 1, "min-p", options.min_p, "between 0 and 1");
  check_option(finite(options.repetition_penalty) && options.repetition_penalty > 0,
               "repetition-penalty", options.repetition_penalty, "above 0 (1 is none)");
}

Sampler::Sampler(int32_t vocab_size)
    : logits_(static_cast<size_t>(vocab_size)), penalised_(static_cast<size_t>(vocab_size)) {
  candidates_.reserve(logits_.size());
  weights_.reserve(logits_.size());
}

Sampled Sampler::sample(std::span<const float> logits, std::span<const int32_t> seen,
                        uint64_t counter, const SamplingOptions& options) {
  require(logits.size() == logits_.size(), ErrorKind::kInvalidArgument, logits.size(),
          " logits for a vocabulary of ", logits_.size());
  const bool as_given = options.temperature == 0 && options.repetition_penalty == 1.0f;
  if (!as_given) {
    std::transform(logits.begin(), logits.end(), logits_.begin(), without_nan);
    penalise(seen, options.repetition_penalty);
  }
  const std::span<const float> used = as_given ? logits : std::span<const float>(logits_);
  int32_t token = largest(used);
  const float most = without_nan(used[static_cast<size_t>(token)]);
  require(std::isfinite(most), ErrorKind::kInvalidArgument, "the largest logit is ", most,
          "; the weights, or the file they came from, are damaged");
  if (options.temperature > 0) {
    keep_candidates(options);
    token = draw(counter, options);
  }
  if (options.num_logprobs < 0) return {.token = token, .logprob = 0, .most = {}};
  return with_logprobs(logits, token, options);
}

void Sampler::penalise(std::span<const int32_t> seen, float penalty) {
  if (penalty == 1.0f) return;
  for (int32_t token : seen) {
    const auto at = static_cast<size_t>(token);
    if (at >= logits_.size() || std::exchange(penalised_[at], uint8_t{1})) continue;
    logits_[at] = logits_[at] > 0 ? logits_[at] / penalty : logits_[at] * penalty;
  }
  std::fill(penalised_.begin(), penalised_.end(), uint8_t{0});
}

// Leaves the tokens that may be drawn, with weights in proportion to their probabilities. Sorting a
// whole vocabulary would take longer than a small model, so only what needs order is sorted.
void Sampler::keep_candidates(const SamplingOptions& options) {
  candidates_.clear();
  for (size_t i = 0; i < logits_.size(); i++)
    candidates_.push_back({.logit = logits_[i], .token = static_cast<int32_t>(i)});
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < candidates_.size()) {
    const auto end = candidates_.begin() + options.top_k;
    std::nth_element(candidates_.begin(), end - 1, candidates_.end(), more_probable);
    candidates_.erase(end, candidates_.end());
    std::sort(candidates_.begin(), candidates_.end(), more_probable);
  }
  const float top = logits_[static_cast<size_t>(largest(logits_))];
  const auto weight = [&](const Candidate& candidate) {
    return std::exp((double{candidate.logit} - top) / options.temperature);  // the largest is 1
  };
  if (options.top_p < 1) keep_nucleus(weight, options.top_p);
  if (options.min_p > 0)
    std::erase_if(candidates_, [&](const Candidate& c) { return weight(c) < options.min_p; });
  weights_.resize(candidates_.size());
  std::transform(candidates_.begin(), candidates_.end(), weights_.begin(), weight);
}

// Holtzman et al. 2020. Tokens below an equal share of what may be left out are together no more
// than that, so the nucleus lies among the others.
template <class Weight>
void Sampler::keep_nucleus(const Weight& weight, float top_p) {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += weight(candidate);
  const double share = (1 - top_p) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& c) { return weight(c) < share; });
  std::sort(candidates_.begin(), candidates_.end(), more_probable);
  size_t kept = 0;
  for (double sum = 0; kept < candidates_.size() && sum < top_p * total; kept++)
    sum += weight(candidates_[kept]);
  candidates_.resize(kept);
}

int32_t Sampler::draw(uint64_t counter, const SamplingOptions& options) {
  double total = 0;
  for (double weight : weights_) total += weight;
  double left = uniform(options.seed, counter) * total;
  size_t chosen = 0;
  for (size_t i = 0; i < weights_.size() && left >= 0; i++) {
    left -= weights_[i];
    if (weights_[i] > 0) chosen = i;
  }
  return candidates_[chosen].token;
}

Sampled Sampler::with_logprobs(std::span<const float> logits, int32_t token,
                               const SamplingOptions& options) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); i++)
    candidates_.push_back({.logit = without_nan(logits[i]), .token = static_cast<int32_t>(i)});
  const Candidate chosen = candidates_[static_cast<size_t>(token)];
  const auto count = std::min(static_cast<size_t>(options.num_logprobs), candidates_.size());
  const auto end = candidates_.begin() + static_cast<ptrdiff_t>(std::max(count, size_t{1}));
  std::partial_sort(candidates_.begin(), end, candidates_.end(), more_probable);

  const double top = candidates_.front().logit;
  double sum = 0;
  for (const Candidate& candidate : candidates_) sum += std::exp(candidate.logit - top);
  const auto logprob = [&](const Candidate& of) {
    return static_cast<float>(of.logit - (top + std::log(sum)));
  };
  Sampled sampled = {.token = token, .logprob = logprob(chosen), .most = {}};
  for (size_t i = 0; i < count; i++)
    sampled.most.push_back({.token = candidates_[i].token, .logprob = logprob(candidates_[i])});
  return sampled;
}

}  // namespace pagoda::engine

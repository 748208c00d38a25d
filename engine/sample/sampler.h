// From logits to the next token. The order of the steps: repetition penalty, temperature, top-k,
// top-p, min-p, draw. Ties are broken towards the lower token id, everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pagoda::engine {

struct SamplingOptions {
  float temperature = 0.0f;         // 0: greedy, the largest logit
  int32_t top_k = 0;                // keep this many most probable tokens; 0: all
  float top_p = 1.0f;               // keep the fewest tokens whose probabilities reach this
  float min_p = 0.0f;               // keep tokens of at least this share of the largest probability
  float repetition_penalty = 1.0f;  // of tokens seen: positive logits / this, negative * this
  uint64_t seed = 0;
  int32_t num_logprobs = -1;  // so many most probable tokens with the chosen one's; -1: none at all
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

struct Sampled {
  int32_t token = 0;
  float logprob = 0;               // natural log, of the logits as the model gave them
  std::vector<TokenLogprob> most;  // [num_logprobs], most probable first
};

// Errors: kInvalidArgument, with the option, its value and its range.
void check_sampling(const SamplingOptions& options);

class Sampler {
 public:
  explicit Sampler(int32_t vocab_size);

  int32_t vocab_size() const { return static_cast<int32_t>(logits_.size()); }

  // logits   [vocab_size]; NaN counts as -inf. Errors: kInvalidArgument if none is finite.
  // seen     ids of prompt and output so far, for the repetition penalty; others than those of
  //          the vocabulary have no effect
  // counter  of draws of this request: the number of tokens it generated so far
  Sampled sample(std::span<const float> logits, std::span<const int32_t> seen, uint64_t counter,
                 const SamplingOptions& options);

  // A token that was chosen elsewhere, with the probabilities that options ask for.
  Sampled with_logprobs(std::span<const float> logits, int32_t token,
                        const SamplingOptions& options);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };

  static bool more_probable(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  }

  void penalise(std::span<const int32_t> seen, float penalty);
  void keep_candidates(const SamplingOptions& options);
  template <class Weight>
  void keep_nucleus(const Weight& weight, float top_p);
  int32_t draw(uint64_t counter, const SamplingOptions& options);
  std::vector<float> logits_;          // [vocab_size] as changed by the penalty
  std::vector<Candidate> candidates_;  // may be drawn
  std::vector<double> weights_;        // [candidates] exp(logit - largest), in their order
  std::vector<uint8_t> penalised_;     // [vocab_size] all 0 between calls
};

}  // namespace pagoda::engine

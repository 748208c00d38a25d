// The ways of stretching rotary embeddings over longer texts, all as divisors of the frequencies.
// Frequency i of `num_dims / 2` is theta^(-2i / num_dims).
#pragma once

#include <cstdint>
#include <vector>

namespace pagoda::engine {

// Every frequency divided by the same factor ("position interpolation").
std::vector<float> linear_factors(int64_t num_dims, double factor);

struct Llama3Scaling {
  double factor = 8;
  double low_frequency_factor = 1;
  double high_frequency_factor = 4;
  double original_context = 8192;  // tokens
};

// Llama 3.1: long waves are divided by the factor, short ones kept, with a ramp between.
std::vector<float> llama3_factors(int64_t num_dims, double theta, const Llama3Scaling& scaling);

struct YarnScaling {
  double factor = 1;
  double original_context = 0;  // tokens
  double beta_fast = 32;
  double beta_slow = 1;
};

// YaRN (Peng et al. 2023, section 3.2): dimensions that turn more than beta_fast times over the
// original context are kept, those below beta_slow are divided, with a linear ramp between.
std::vector<float> yarn_factors(int64_t num_dims, double theta, const YarnScaling& scaling);

// The magnitude that YaRN multiplies cosine and sine by: 1 + ln(factor) / 10.
float yarn_magnitude(double factor);

}  // namespace pagoda::engine

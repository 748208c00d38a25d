// See rope_scaling.h.
#include "engine/formats/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace pagoda::engine {

std::vector<float> linear_factors(int64_t num_dims, double factor) {
  return std::vector<float>(static_cast<size_t>(num_dims / 2), static_cast<float>(factor));
}

std::vector<float> llama3_factors(int64_t num_dims, double theta, const Llama3Scaling& scaling) {
  std::vector<float> factors;
  for (int64_t i = 0; i < num_dims / 2; ++i) {
    const double frequency =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(num_dims));
    const double turns = scaling.original_context * frequency / (2 * std::numbers::pi);
    const double ramp = (turns - scaling.low_frequency_factor) /
                        (scaling.high_frequency_factor - scaling.low_frequency_factor);
    const double kept = std::clamp(ramp, 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / (kept + (1 - kept) / scaling.factor)));
  }
  return factors;
}

std::vector<float> yarn_factors(int64_t num_dims, double theta, const YarnScaling& scaling) {
  // The (fractional) index of the dimension that turns `turns` times over the original context.
  const auto dims = static_cast<double>(num_dims);
  const auto index_of = [&](double turns) {
    const double ratio = scaling.original_context / (turns * 2 * std::numbers::pi);
    return dims * std::log(ratio) / (2 * std::log(theta));
  };
  const double low = std::max(0.0, std::floor(index_of(scaling.beta_fast)));
  const double high = std::min(dims - 1, std::ceil(index_of(scaling.beta_slow)));
  std::vector<float> factors;
  for (int64_t i = 0; i < num_dims / 2; ++i) {
    const double ramp = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    const double divided = std::clamp(ramp, 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / (1 - divided + divided / scaling.factor)));
  }
  return factors;
}

float yarn_magnitude(double factor) {
  return factor <= 1 ? 1.0f : static_cast<float>(1 + 0.1 * std::log(factor));
}

}  // namespace pagoda::engine

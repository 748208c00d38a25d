#include "engine/math/rope.h"

#include <cmath>

namespace pagoda::engine {

Rope::Rope(const RopeConfig& config, int64_t max_positions)
    : style_(config.style), num_pairs_(config.num_dims / 2) {
  const auto size = static_cast<size_t>(max_positions * num_pairs_);
  cosines_.resize(size);
  sines_.resize(size);
  for (int64_t i = 0; i < num_pairs_; i++) {
    const double factor =
        config.frequency_factors.empty() ? 1.0 : config.frequency_factors[static_cast<size_t>(i)];
    const double frequency = std::pow(
        config.theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.num_dims));
    for (int64_t position = 0; position < max_positions; position++) {
      const double angle = static_cast<double>(position) * frequency / factor;
      const auto at = static_cast<size_t>(position * num_pairs_ + i);
      cosines_[at] = static_cast<float>(std::cos(angle) * config.magnitude);
      sines_[at] = static_cast<float>(std::sin(angle) * config.magnitude);
    }
  }
}

void Rope::rotate(float* heads, int64_t num_heads, int64_t head_dim, int64_t position,
                  const MathKernels& kernels) const {
  kernels.rotate(heads, num_heads, head_dim, cosines_.data() + position * num_pairs_,
                 sines_.data() + position * num_pairs_, num_pairs_,
                 style_ == RopeStyle::kInterleaved);
}

}  // namespace pagoda::engine

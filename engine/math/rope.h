// Rotary position embedding (Su et al. 2021): pair i of a head turns by an angle that grows with
// the token's position. Cosines and sines are tabulated once, computed in double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/formats/model_config.h"
#include "engine/math/isa/kernels.h"

namespace pagoda::engine {

class Rope {
 public:
  // For positions below max_positions. All scalings are in the config's factors.
  Rope(const RopeConfig& config, int64_t max_positions);

  // Turns, in place, the first num_dims elements of each head.
  //   heads: [num_heads, head_dim], dense
  void rotate(float* heads, int64_t num_heads, int64_t head_dim, int64_t position,
              const MathKernels& kernels = scalar::kKernels) const;

  // [max_positions, num_dims / 2]
  std::span<const float> cosines() const { return cosines_; }
  std::span<const float> sines() const { return sines_; }

 private:
  RopeStyle style_;
  int64_t num_pairs_;
  std::vector<float> cosines_;  // [max_positions, num_pairs]
  std::vector<float> sines_;    // likewise
};

}  // namespace pagoda::engine

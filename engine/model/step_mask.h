// A mask expression over the whole model: one block mask per step, shared by all layers.
#pragma once

#include <pagoda/mask.hpp>
#include <string>
#include <utility>
#include <vector>

namespace pagoda::engine {

// What shows less than the causal mask does; empty text: none.
struct MaskText {
  std::string text;
  std::vector<std::pair<std::string, int64_t>> names;  // integers that it uses
};

class StepMask {
 public:
  // Errors: pagoda::Error, with the place in the text.
  StepMask(const MaskText& mask, const MaskOptions& options);

  // Valid until the next step.
  const pagoda_block_mask& build(const Batch& batch);

  // Tiles of the step with the most queries so far, of its first request: picture and summary.
  const std::string& picture() const { return picture_; }

 private:
  void draw(const Batch& batch);

  Expression expression_;
  MaskBuilder builder_;
  int32_t most_queries_ = 0;
  std::string picture_;
};

}  // namespace pagoda::engine

// Tensor parallelism of heads: each rank has an equal part of the heads and of the feed-forward
// network, with all keys of its key heads, and the ranks' partial products are summed.
#pragma once

#include <pagoda/comm.h>

#include <cstdint>
#include <memory>

#include "engine/formats/model_config.h"

namespace pagoda::engine {

struct TensorShare {
  std::shared_ptr<const pagoda_comm> comm;  // null: this process has the whole model

  int32_t rank() const { return comm ? comm->rank : 0; }
  int32_t num_ranks() const { return comm ? comm->num_ranks : 1; }
};

// Items [begin, end) of `size` that a rank has. The ranks' parts differ by one item at most.
struct Part {
  int64_t begin = 0, end = 0;

  int64_t size() const { return end - begin; }
};
Part part_of(int64_t size, const TensorShare& share);

// The model as this rank computes it: its heads and its part of the feed-forward network; all else
// is as in the whole.
// Errors: kInvalidArgument for key heads that the ranks do not divide.
ModelConfig config_of_rank(const ModelConfig& whole, const TensorShare& share);

}  // namespace pagoda::engine

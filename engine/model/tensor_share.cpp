#include "engine/model/tensor_share.h"

#include "engine/error.h"

namespace pagoda::engine {

Part part_of(int64_t size, const TensorShare& share) {
  const int64_t rank = share.rank(), ranks = share.num_ranks();
  return {.begin = size * rank / ranks, .end = size * (rank + 1) / ranks};
}

ModelConfig config_of_rank(const ModelConfig& whole, const TensorShare& share) {
  const int64_t ranks = share.num_ranks();
  require(whole.num_kv_heads % ranks == 0, ErrorKind::kInvalidArgument, "the model has ",
          whole.num_kv_heads, " key heads, which ", ranks,
          " ranks cannot divide; start a number of processes that divides them");
  require(whole.ffn_size >= ranks, ErrorKind::kInvalidArgument, "a feed-forward size of ",
          whole.ffn_size, " cannot be divided among ", ranks, " ranks");
  ModelConfig own = whole;
  own.num_heads = whole.num_heads / ranks;
  own.num_kv_heads = whole.num_kv_heads / ranks;
  own.ffn_size = part_of(whole.ffn_size, share).size();
  return own;
}

}  // namespace pagoda::engine

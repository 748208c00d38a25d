// The checks that both config readers share.
#include "engine/formats/model_config.h"

#include <cmath>

#include "engine/error.h"
#include "engine/formats/config_readers.h"

namespace pagoda::engine {
namespace {

// Far above any model of the supported families; below what makes a product overflow.
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxHidden = int64_t{1} << 20;
constexpr int64_t kMaxFfn = int64_t{1} << 22;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 30;

void check_range(int64_t value, int64_t limit, const char* what, const std::string& where) {
  require(value >= 1, ErrorKind::kMalformed, where, ": ", what, " is ", value,
          ", it must be positive");
  require(value <= limit, ErrorKind::kLimit, where, ": ", what, " is ", value, ", the limit is ",
          limit);
}

void check_rope(const ModelConfig& config, const std::string& where) {
  const RopeConfig& rope = config.rope;
  require(rope.num_dims >= 2 && rope.num_dims % 2 == 0 && rope.num_dims <= config.head_dim,
          ErrorKind::kMalformed, where, ": ", rope.num_dims,
          " rotated dimensions; an even number up to head_dim ", config.head_dim, " is needed");
  require(std::isfinite(rope.theta) && rope.theta > 1, ErrorKind::kMalformed, where,
          ": the rope base is ", rope.theta, ", it must be above 1");
  const auto num_factors = static_cast<int64_t>(rope.frequency_factors.size());
  require(num_factors == 0 || num_factors == rope.num_dims / 2, ErrorKind::kMalformed, where, ": ",
          num_factors, " rope frequency factors for ", rope.num_dims, " rotated dimensions");
  for (float factor : rope.frequency_factors)
    require(std::isfinite(factor) && factor > 0, ErrorKind::kMalformed, where,
            ": a rope frequency factor is ", factor, ", it must be positive");
  require(std::isfinite(rope.magnitude) && rope.magnitude > 0, ErrorKind::kMalformed, where,
          ": the rope magnitude is ", rope.magnitude, ", it must be positive");
}

}  // namespace

const char* name_of(Architecture architecture) {
  constexpr const char* names[] = {"llama", "qwen2", "qwen3", "smollm3"};
  return names[static_cast<int>(architecture)];
}

void add_biases(ModelConfig& config, const std::function<bool(std::string_view)>& has_tensor) {
  config.qkv_bias = has_tensor("blk.0.attn_q.bias");
  config.output_bias = has_tensor("blk.0.attn_output.bias");
}

void check_config(const ModelConfig& config, const std::string& where) {
  check_range(config.num_layers, kMaxLayers, "the number of layers", where);
  check_range(config.hidden_size, kMaxHidden, "the hidden size", where);
  check_range(config.ffn_size, kMaxFfn, "the feed-forward size", where);
  check_range(config.num_heads, kMaxHeads, "the number of heads", where);
  check_range(config.num_kv_heads, kMaxHeads, "the number of key-value heads", where);
  check_range(config.head_dim, kMaxHeadDim, "head_dim", where);
  check_range(config.vocab_size, kMaxVocab, "the vocabulary size", where);
  check_range(config.context_length, kMaxContext, "the context length", where);
  require(config.num_heads % config.num_kv_heads == 0, ErrorKind::kMalformed, where, ": ",
          config.num_heads, " heads are not a multiple of ", config.num_kv_heads,
          " key-value heads");
  require(std::isfinite(config.norm_epsilon) && config.norm_epsilon > 0, ErrorKind::kMalformed,
          where, ": the norm epsilon is ", config.norm_epsilon, ", it must be positive");
  require(static_cast<int64_t>(config.layers.size()) == config.num_layers, ErrorKind::kMalformed,
          where, ": ", config.layers.size(), " layer descriptions for ", config.num_layers,
          " layers");
  for (const LayerConfig& layer : config.layers)
    require(layer.sliding_window >= 0, ErrorKind::kMalformed, where, ": a sliding window is ",
            layer.sliding_window, ", it cannot be negative");
  check_rope(config, where);
}

}  // namespace pagoda::engine

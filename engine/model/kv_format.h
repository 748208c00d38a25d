// What the cache of each layer holds: one format for the model, and the layers that keep the type
// of attention instead.
#pragma once

#include <cstdint>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

#include "engine/formats/model_config.h"

namespace pagoda::engine {

struct KvChoice {
  pagoda_kv_format format = PAGODA_KV_SAME;
  std::vector<int> same_layers;  // numbers of layers whose cache is not quantised
  bool sliding_is_same = false;  // nor is that of layers with a window
  std::string scales_path;       // what kv_scales.h loads; empty: scales of heads are 1
};

// Errors: kInvalidArgument for layers that the model does not have.
void check_kv_choice(const ModelConfig& config, const KvChoice& choice);

pagoda_kv_format kv_format_of_layer(const ModelConfig& config, const KvChoice& choice, int layer);

// How one of the two caches lies in memory.
struct KvSide {
  enum class Scale : uint8_t { none, head, token, channel };

  pagoda_dtype dtype = PAGODA_F32;
  Scale scale = Scale::none;

  int64_t row_bytes(int64_t head_dim) const;  // one token and head, a scale of the token included
};

// same: the type of attention.
KvSide key_side(pagoda_kv_format format, pagoda_dtype same);
KvSide value_side(pagoda_kv_format format, pagoda_dtype same);

}  // namespace pagoda::engine

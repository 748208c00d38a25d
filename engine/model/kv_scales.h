// Scales of quantised caches that belong to heads and channels, not to tokens: measured over a run
// (pagoda calibrate), kept in a safetensors file, and handed to every later run.
//
//     layers.N.key_head_scale       [num_kv_heads]            F32, largest size / 448
//     layers.N.value_head_scale     [num_kv_heads]            F32, largest size / 448
//     layers.N.value_channel_scale  [num_kv_heads, head_dim]  F32, largest size / 127
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "engine/formats/model_config.h"
#include "engine/model/kv_format.h"

namespace pagoda::engine {

struct LayerScales {
  std::vector<float> key_head, value_head;  // [num_kv_heads]
  std::vector<float> value_channel;         // [num_kv_heads, head_dim]; empty: not known
};

// Where a layer's scales lie.
struct ScaleViews {
  float *key_head = nullptr, *value_head = nullptr;  // [num_kv_heads]
  float* value_channel = nullptr;                    // [num_kv_heads, head_dim]; null: not known
};

// [layers]
std::vector<ScaleViews> views_of(std::vector<LayerScales>& layers);

// Of every layer, with 1 for every head and no channels.
std::vector<LayerScales> unit_scales(const ModelConfig& config);

// Errors: those of SafetensorsFile; kNotFound and kMalformed when the file is not of this model.
std::vector<LayerScales> load_scales(const std::filesystem::path& path, const ModelConfig& config);

// Those that a run with the choice needs: its file's, or 1 where it names none. Errors: those of
// check_kv_choice and load_scales; kInvalidArgument when the format needs a file.
std::vector<LayerScales> scales_of(const ModelConfig& config, const KvChoice& kv);

// Errors: kIo.
void save_scales(const std::filesystem::path& path, const std::vector<LayerScales>& layers);

// The largest sizes that keys and values of a run have.
class KvStatistics {
 public:
  explicit KvStatistics(const ModelConfig& config);

  // keys, values: the first of the layer's rows [num_tokens, num_kv_heads, head_dim], a token
  // `stride` floats behind the one before.
  void add(int layer, const float* keys, const float* values, int64_t num_tokens, int64_t stride);

  std::vector<LayerScales> scales() const;

 private:
  struct Layer {
    std::vector<float> key_head, value_channel;  // largest sizes
  };

  int64_t num_kv_heads_, head_dim_;
  std::vector<Layer> layers_;
};

}  // namespace pagoda::engine

#include "engine/model/kv_scales.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/error.h"
#include "engine/formats/safetensors.h"
#include "engine/formats/safetensors_writer.h"

namespace pagoda::engine {
namespace {

constexpr float kLargestE4m3 = 448, kLargestInt8 = 127;
constexpr float kSmallestScale = 1e-6f;

std::string name_of(size_t layer, const char* what) {
  return "layers." + std::to_string(layer) + "." + what;
}

std::vector<float> read_scales(const SafetensorsFile& file, const std::string& name,
                               const std::vector<int64_t>& shape,
                               const std::filesystem::path& path) {
  const TensorView* tensor = file.find_tensor(name);
  require(tensor != nullptr, ErrorKind::kNotFound, path.string(), " has no tensor ", name,
          "; scales of this model come from pagoda calibrate");
  require(tensor->type == TensorType::kF32 && tensor->shape == shape, ErrorKind::kMalformed,
          path.string(), ": ", name, " is not F32 of this model's heads; calibrate this model");
  std::vector<float> scales(static_cast<size_t>(tensor->num_elements()));
  std::memcpy(scales.data(), tensor->bytes.data(), tensor->bytes.size());
  for (float scale : scales)
    require(std::isfinite(scale) && scale > 0, ErrorKind::kMalformed, path.string(), ": ", name,
            " holds ", scale, "; scales are finite and above 0");
  return scales;
}

std::vector<float> divided(const std::vector<float>& largest_sizes, float largest_code) {
  std::vector<float> scales;
  for (float size : largest_sizes) scales.push_back(std::max(size / largest_code, kSmallestScale));
  return scales;
}

}  // namespace

std::vector<ScaleViews> views_of(std::vector<LayerScales>& layers) {
  std::vector<ScaleViews> views;
  for (LayerScales& layer : layers)
    views.push_back({.key_head = layer.key_head.data(),
                     .value_head = layer.value_head.data(),
                     .value_channel = layer.value_channel.data()});
  return views;
}

std::vector<LayerScales> unit_scales(const ModelConfig& config) {
  const std::vector<float> ones(static_cast<size_t>(config.num_kv_heads), 1.0f);
  return std::vector<LayerScales>(config.layers.size(),
                                  {.key_head = ones, .value_head = ones, .value_channel = {}});
}

std::vector<LayerScales> load_scales(const std::filesystem::path& path, const ModelConfig& config) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<LayerScales> layers;
  for (size_t layer = 0; layer < config.layers.size(); layer++) {
    const auto read = [&](const char* what, const std::vector<int64_t>& shape) {
      return read_scales(file, name_of(layer, what), shape, path);
    };
    layers.push_back(
        {.key_head = read("key_head_scale", {config.num_kv_heads}),
         .value_head = read("value_head_scale", {config.num_kv_heads}),
         .value_channel = read("value_channel_scale", {config.num_kv_heads, config.head_dim})});
  }
  return layers;
}

std::vector<LayerScales> scales_of(const ModelConfig& config, const KvChoice& kv) {
  check_kv_choice(config, kv);
  require(kv.format != PAGODA_KV_INT8_CHANNEL_V || !kv.scales_path.empty(),
          ErrorKind::kInvalidArgument,
          "a cache with scales of value channels needs their file; pagoda calibrate makes one");
  return kv.scales_path.empty() ? unit_scales(config) : load_scales(kv.scales_path, config);
}

void save_scales(const std::filesystem::path& path, const std::vector<LayerScales>& layers) {
  SafetensorsWriter writer;
  for (size_t layer = 0; layer < layers.size(); layer++) {
    const LayerScales& own = layers[layer];
    const auto heads = static_cast<int64_t>(own.key_head.size());
    const auto channels = static_cast<int64_t>(own.value_channel.size());
    writer.add(name_of(layer, "key_head_scale"), {heads}, own.key_head);
    writer.add(name_of(layer, "value_head_scale"), {heads}, own.value_head);
    writer.add(name_of(layer, "value_channel_scale"), {heads, channels / heads}, own.value_channel);
  }
  writer.write(path);
}

KvStatistics::KvStatistics(const ModelConfig& config)
    : num_kv_heads_(config.num_kv_heads), head_dim_(config.head_dim) {
  layers_.resize(config.layers.size());
  for (Layer& layer : layers_) {
    layer.key_head.assign(static_cast<size_t>(num_kv_heads_), 0.0f);
    layer.value_channel.assign(static_cast<size_t>(num_kv_heads_ * head_dim_), 0.0f);
  }
}

void KvStatistics::add(int layer, const float* keys, const float* values, int64_t num_tokens,
                       int64_t stride) {
  Layer& own = layers_[static_cast<size_t>(layer)];
  for (int64_t token = 0; token < num_tokens; token++)
    for (int64_t i = 0; i < num_kv_heads_ * head_dim_; i++) {
      float& key = own.key_head[static_cast<size_t>(i / head_dim_)];
      float& value = own.value_channel[static_cast<size_t>(i)];
      key = std::max(key, std::fabs(keys[token * stride + i]));
      value = std::max(value, std::fabs(values[token * stride + i]));
    }
}

std::vector<LayerScales> KvStatistics::scales() const {
  std::vector<LayerScales> scales;
  for (const Layer& layer : layers_) {
    std::vector<float> value_head;
    for (int64_t head = 0; head < num_kv_heads_; head++) {
      const auto first = layer.value_channel.begin() + head * head_dim_;
      value_head.push_back(*std::max_element(first, first + head_dim_));
    }
    scales.push_back({.key_head = divided(layer.key_head, kLargestE4m3),
                      .value_head = divided(value_head, kLargestE4m3),
                      .value_channel = divided(layer.value_channel, kLargestInt8)});
  }
  return scales;
}

}  // namespace pagoda::engine

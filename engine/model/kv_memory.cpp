#include "engine/model/kv_memory.h"

#include <algorithm>

namespace pagoda::engine {

std::vector<LayerGroup> group_layers(const ModelConfig& config, const KvChoice& kv) {
  std::vector<LayerGroup> groups;
  for (size_t layer = 0; layer < config.layers.size(); layer++) {
    const auto window = static_cast<int32_t>(config.layers[layer].sliding_window);
    const pagoda_kv_format format = kv_format_of_layer(config, kv, static_cast<int>(layer));
    const auto same = [&](const LayerGroup& group) {
      return group.window == window && group.kv_format == format;
    };
    auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group == groups.end())
      group = groups.insert(groups.end(), {.window = window, .layers = {}, .kv_format = format});
    group->layers.push_back(static_cast<int>(layer));
  }
  return groups;
}

int64_t bytes_of(pagoda_dtype dtype) {
  return dtype == PAGODA_F32 ? 4 : 2;
}

int64_t page_bytes(const ModelConfig& config, const LayerGroup& group, int32_t page_size,
                   pagoda_dtype dtype) {
  const int64_t row = key_side(group.kv_format, dtype).row_bytes(config.head_dim) +
                      value_side(group.kv_format, dtype).row_bytes(config.head_dim);
  return static_cast<int64_t>(group.layers.size()) * page_size * config.num_kv_heads * row;
}

int64_t cache_bytes(const ModelConfig& config, const std::vector<LayerGroup>& groups,
                    int32_t page_size, int64_t num_pages, pagoda_dtype dtype) {
  int64_t bytes = 0;
  for (const LayerGroup& group : groups)
    bytes += num_pages * page_bytes(config, group, page_size, dtype);
  return bytes;
}

KvMemory::KvMemory(const ModelConfig& config, const std::vector<LayerGroup>& groups,
                   int32_t page_size, int64_t num_pages, pagoda_dtype dtype, std::byte* memory,
                   const std::vector<ScaleViews>& scales)
    : next_(memory), keys_(config.layers.size()), values_(config.layers.size()) {
  for (const LayerGroup& group : groups)
    for (int number : group.layers) {
      const auto layer = static_cast<size_t>(number);
      const ScaleViews& own = scales[layer];
      keys_[layer] = make_side(key_side(group.kv_format, dtype), config, page_size, num_pages,
                               own.key_head, nullptr);
      values_[layer] = make_side(value_side(group.kv_format, dtype), config, page_size, num_pages,
                                 own.value_head, own.value_channel);
    }
}

// Planes of scales lie behind the rows, a head's scales of a page together like its keys.
KvMemory::Side KvMemory::make_side(const KvSide& side, const ModelConfig& config, int32_t page_size,
                                   int64_t num_pages, float* of_heads, float* of_channels) {
  using Scale = KvSide::Scale;
  const int64_t heads = config.num_kv_heads, dim = config.head_dim;
  const int64_t page = heads * page_size;
  Side made{.has_scale = side.scale != Scale::none};
  made.rows = Tensor(next_, side.dtype, {num_pages, page_size, heads, dim},
                     {page * dim, dim, page_size * dim, 1});
  const int64_t element = KvSide{side.dtype}.row_bytes(1);
  next_ += num_pages * page * dim * element;
  if (side.scale == Scale::head) made.scale = Tensor(of_heads, PAGODA_F32, {heads});
  if (side.scale == Scale::channel) made.scale = Tensor(of_channels, PAGODA_F32, {heads, dim});
  if (side.scale != Scale::token) return made;
  made.scale = Tensor(next_, PAGODA_F32, {num_pages, page_size, heads}, {page, 1, page_size});
  next_ += num_pages * page * static_cast<int64_t>(sizeof(float));
  return made;
}

Layer KvMemory::layer(int number) const {
  const Side &keys = keys_[static_cast<size_t>(number)],
             &values = values_[static_cast<size_t>(number)];
  Layer layer;
  layer.key_cache = &keys.rows;
  layer.value_cache = &values.rows;
  if (keys.has_scale) layer.key_scale = &keys.scale;
  if (values.has_scale) layer.value_scale = &values.scale;
  return layer;
}

}  // namespace pagoda::engine

#include "engine/model/kv_memory.h"

#include <algorithm>

namespace pagoda::engine {

std::vector<LayerGroup> group_layers(const ModelConfig& config) {
  std::vector<LayerGroup> groups;
  for (size_t layer = 0; layer < config.layers.size(); layer++) {
    const auto window = static_cast<int32_t>(config.layers[layer].sliding_window);
    const auto same = [&](const LayerGroup& group) { return group.window == window; };
    auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group == groups.end())
      group = groups.insert(groups.end(), {.window = window, .layers = {}});
    group->layers.push_back(static_cast<int>(layer));
  }
  return groups;
}

int64_t bytes_of(pagoda_dtype dtype) {
  return dtype == PAGODA_F32 ? 4 : 2;
}

int64_t page_bytes(const ModelConfig& config, const LayerGroup& group, int32_t page_size,
                   pagoda_dtype dtype) {
  return 2 * static_cast<int64_t>(group.layers.size()) * page_size * config.num_kv_heads *
         config.head_dim * bytes_of(dtype);
}

KvMemory::KvMemory(const ModelConfig& config, const std::vector<LayerGroup>& groups,
                   int32_t page_size, int64_t num_pages, pagoda_dtype dtype)
    : memory_([&] {
        int64_t bytes = 0;
        for (const LayerGroup& group : groups)
          bytes += num_pages * page_bytes(config, group, page_size, dtype);
        return static_cast<size_t>(bytes);
      }()),
      keys_(config.layers.size()),
      values_(config.layers.size()) {
  const int64_t heads = config.num_kv_heads;
  const int64_t dim = config.head_dim;
  const int64_t page = heads * page_size * dim;
  std::byte* next = memory_.data();
  for (size_t layer = 0; layer < config.layers.size(); layer++)
    for (Tensor* tensor : {&keys_[layer], &values_[layer]}) {
      *tensor =
          Tensor(next, dtype, {num_pages, page_size, heads, dim}, {page, dim, page_size * dim, 1});
      next += num_pages * page * bytes_of(dtype);
    }
}

}  // namespace pagoda::engine

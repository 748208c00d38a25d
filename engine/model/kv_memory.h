// The memory of the paged cache. Layers with the same window and the same format form a group: they
// share a plan, a page table and page ids, and each has its own pages for keys and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <pagoda/pagoda.hpp>
#include <vector>

#include "engine/formats/model_config.h"
#include "engine/model/kv_format.h"
#include "engine/model/kv_scales.h"

namespace pagoda::engine {

struct LayerGroup {
  int32_t window = 0;       // keys a query sees, itself included; 0: all
  std::vector<int> layers;  // their numbers, ascending
  pagoda_kv_format kv_format = PAGODA_KV_SAME;
};

// In order of their first layers.
std::vector<LayerGroup> group_layers(const ModelConfig& config, const KvChoice& kv = {});

int64_t bytes_of(pagoda_dtype dtype);

// Bytes of one page over all layers of a group, keys and values.
int64_t page_bytes(const ModelConfig& config, const LayerGroup& group, int32_t page_size,
                   pagoda_dtype dtype);

// Bytes of the caches of all layers.
int64_t cache_bytes(const ModelConfig& config, const std::vector<LayerGroup>& groups,
                    int32_t page_size, int64_t num_pages, pagoda_dtype dtype);

// The caches of every layer, laid out in memory that the host or a device owns.
class KvMemory {
 public:
  // memory: cache_bytes() of them. num_pages of each group, the null page included.
  // scales: [layers], where the same side reads them.
  KvMemory(const ModelConfig& config, const std::vector<LayerGroup>& groups, int32_t page_size,
           int64_t num_pages, pagoda_dtype dtype, std::byte* memory,
           const std::vector<ScaleViews>& scales);

  // Caches [num_pages, page_size, num_kv_heads, head_dim], a head's keys of a page together, and
  // the scales that the layer's format has.
  Layer layer(int number) const;

 private:
  struct Side {
    Tensor rows, scale;
    bool has_scale = false;
  };

  Side make_side(const KvSide& side, const ModelConfig& config, int32_t page_size,
                 int64_t num_pages, float* of_heads, float* of_channels);

  std::byte* next_;                  // of the memory, while it is laid out
  std::vector<Side> keys_, values_;  // [layers]
};

}  // namespace pagoda::engine

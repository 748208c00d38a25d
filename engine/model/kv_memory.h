// The memory of the paged cache. Layers with the same window form a group: they share a plan, a
// page table and page ids, and each has its own pages for keys and values.
#pragma once

#include <cstdint>
#include <pagoda/pagoda.hpp>
#include <vector>

#include "engine/formats/model_config.h"
#include "engine/math/array.h"

namespace pagoda::engine {

struct LayerGroup {
  int32_t window = 0;       // keys a query sees, itself included; 0: all
  std::vector<int> layers;  // their numbers, ascending
};

// In order of their first layers.
std::vector<LayerGroup> group_layers(const ModelConfig& config);

int64_t bytes_of(pagoda_dtype dtype);

// Bytes of one page over all layers of a group, keys and values.
int64_t page_bytes(const ModelConfig& config, const LayerGroup& group, int32_t page_size,
                   pagoda_dtype dtype);

class KvMemory {
 public:
  // num_pages of each group, the null page included.
  KvMemory(const ModelConfig& config, const std::vector<LayerGroup>& groups, int32_t page_size,
           int64_t num_pages, pagoda_dtype dtype);

  // [num_pages, page_size, num_kv_heads, head_dim]; a head's keys of a page lie together.
  const Tensor& keys(int layer) const { return keys_[static_cast<size_t>(layer)]; }
  const Tensor& values(int layer) const { return values_[static_cast<size_t>(layer)]; }

 private:
  SystemMemory memory_;
  std::vector<Tensor> keys_, values_;  // [layers]
};

}  // namespace pagoda::engine

// Host. Tensor maps of keys and values: what the copy engine needs to fetch rows of a page by page
// id. Made once per cache and kernel, and constant while the cache stays where it is.
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "../core/dtype.h"
#include "attend_params.h"

namespace pagoda::cuda {

// Rows that one copy brings: the largest divisor of `tile_keys` that also divides the page size, so
// that no copy crosses the border of a page. Without a cache any row may be the first: page_size 0.
int32_t box_rows_of(int32_t page_size, int32_t tile_keys);

// Boxes of [box_rows, 64 elements], swizzled by 128 bytes. Throws Failure for what no map
// describes.
CUtensorMap make_key_map(const KeyView& view, Dtype dtype, int32_t box_rows);

// Boxes of [head_dim / 64, box_rows, 64 elements], likewise swizzled: whole rows, as the decoding
// half of the mixed kernel has them. head_dim: a multiple of 64
CUtensorMap make_row_map(const KeyView& view, Dtype dtype, int32_t box_rows);

// The rows of a call, queries or outputs, given as one page: [1, num_tokens, num_heads, head_dim].
// In boxes of [64 / group, group, 64 elements], likewise swizzled: what half a tile of the prefill
// kernel packs, in its order. Rows of no token are read as zeros and not written. None for groups
// that do not divide 64 and for strides that no map describes.
std::optional<CUtensorMap> make_packed_map(const KeyView& view, Dtype dtype, int32_t group);

// The maps that were made before, by what they describe. A map holds an address and a shape and
// nothing of the memory behind it, so one that is found is right whoever owns that memory now. Safe
// to share between threads.
class KeyMaps {
 public:
  CUtensorMap find(const KeyView& view, Dtype dtype, int32_t box_rows);
  CUtensorMap find_rows(const KeyView& view, Dtype dtype, int32_t box_rows);

 private:
  struct Entry {
    KeyView view;
    Dtype dtype;
    int32_t box_rows;
    bool whole_rows;
    CUtensorMap map;
  };
  CUtensorMap find(const KeyView& view, Dtype dtype, int32_t box_rows, bool whole_rows);
  static constexpr size_t kMost = 1024;  // four of each layer; beyond it the list starts anew

  std::mutex mutex_;
  std::unordered_multimap<const void*, Entry> entries_;
};

// The last maps of rows. A step has few tensors of rows, and the next step's may have other sizes.
// Safe to share between threads.
class PackedMaps {
 public:
  std::optional<CUtensorMap> find(const KeyView& view, Dtype dtype, int32_t group);

 private:
  struct Entry {
    KeyView view;
    Dtype dtype = PAGODA_BF16;
    int32_t group = 0;
    CUtensorMap map;
  };
  std::mutex mutex_;
  std::array<Entry, 16> entries_;
  size_t next_ = 0;  // that is replaced
};

}  // namespace pagoda::cuda

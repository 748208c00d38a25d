// Device only. The shape of the general kernel and its shared memory; attend_general.cuh has the
// picture.
#pragma once

#include <cstdint>

#include "../attend_params.h"
#include "../device/ptx.cuh"
#include "../device/smem_tile.cuh"
#include "../kernel_config.h"
#include "../schedule.h"

namespace pagoda::cuda::general {

template <class T, int kHeadDim_, int kHeadDimV_>
struct Traits {
  using Type = T;
  static constexpr int kHeadDim = kHeadDim_, kHeadDimV = kHeadDimV_;
  static_assert(kHeadDim % 16 == 0 && kHeadDimV % 16 == 0);

  static constexpr int kThreads = 128, kWarps = kThreads / 32;
  static constexpr int kRows = general_rows(kHeadDim, kHeadDimV);
  static constexpr int kWarpRows = kRows / kWarps, kRowTiles = kWarpRows / 16;
  static constexpr int kKeys = 32;  // a word of mask bits for each row
  static_assert(kRows <= kThreads);

  using KeyTile = RowTile<kHeadDim / 8>;  // of queries too
  using ValueTile = RowTile<kHeadDimV / 8>;

  // Two stages of 16-bit rows; or, of a quantised cache, the rows of the tile at work in the first
  // half and two stages of codes in the second.
  template <class Tile>
  struct Ring {
    alignas(128) uint8_t stages[2][kKeys * Tile::kRowBytes];
  };
  // Where a row is in its list of the block mask's tiles; an empty list for rows that do not exist.
  struct Walk {
    int32_t entry, end;
    int32_t first_word;  // of the row within a tile's bits
  };
  struct Shared {
    alignas(128) uint8_t query[kRows * KeyTile::kRowBytes];
    Ring<KeyTile> key;
    Ring<ValueTile> value;
    float key_scale[2][kKeys], value_scale[2][kKeys];
    uint32_t words[3][kRows];      // of the block mask: this tile's and the next two's
    Walk walk[kRows];              // each by its own thread; not in registers, which are short
    KeyRange seen_by_all[kWarps];  // keys that all rows of a warp see
    int32_t next[kWarps];
  };
  static_assert(sizeof(Shared) <= 99 * 1024);  // what the smaller chips of 8.x have
  static constexpr int kBlocksPerSm = 2;
};

// The keys of a tile, [index * kKeys, (index + 1) * kKeys), that the work at hand may read.
template <class Tr>
struct KeyTiles {
  int first, end;

  __device__ explicit KeyTiles(const PrefillTile& tile)
      : first(tile.key_begin / Tr::kKeys), end((tile.key_end + Tr::kKeys - 1) / Tr::kKeys) {}
};

}  // namespace pagoda::cuda::general

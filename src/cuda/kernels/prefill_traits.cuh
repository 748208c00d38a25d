// Device only. The shape of the prefill kernel and its shared memory; attend_prefill_sm90.cuh has
// the picture.
#pragma once

#include <cstdint>

#include "../attend_params.h"
#include "../device/ptx.cuh"
#include "../device/smem_tile.cuh"
#include "../schedule.h"
#include "prefill_keys.h"

namespace pagoda::cuda::prefill {

// Keys of a tile that one of its rows does not see: as many in front, as many behind. Ranges of
// rows move by no more than a key from row to row, so the counts are small, or all the same to a
// row that sees nothing.
struct HiddenEnds {
  uint16_t front, back;
};

// Of a row of a tile: what it does not see, until its output is handed over; then its lse.
union RowNote {
  HiddenEnds hidden;
  float lse;
};

// The rows of a tile whose output leaves from shared memory.
struct StagedRows {
  int32_t first = 0, end = 0;  // packed rows of the request: the tile's first, behind the last
  int32_t query_start = 0;
  int32_t head = -1;  // of the keys; below 0: there are no rows
};

template <class T, int kHeadDim_, int kHeadDimV_>
struct Traits {
  using Type = T;
  static constexpr int kHeadDim = kHeadDim_, kHeadDimV = kHeadDimV_;
  static_assert(kHeadDim % 16 == 0 && kHeadDimV % 16 == 0);

  static constexpr int kGroups = 2;  // warp groups that multiply
  static constexpr int kThreads = 128 * (1 + kGroups);
  static constexpr int kQueryWarps =
      2;  // of the group that feeds; then one for keys, one for values
  static constexpr int kWorkReaders = kQueryWarps + 1;  // warps that feed and are told of work
  static constexpr int kRows = 64 * kGroups;
  static constexpr int kKeys = keys_per_tile(kHeadDim, kHeadDimV);

  using QueryTile = SlabTile<kRows, kHeadDim>;
  using KeyTile = SlabTile<kKeys, kHeadDim>;
  using ValueTile = SlabTile<kKeys, kHeadDimV>;

  // These change speed, never results.
  static constexpr int kStages = 2;
  static constexpr int kQueries = [] {  // as many as there is room for, three at most
    constexpr int kRoom = 224 * 1024 - kStages * (KeyTile::kBytes + ValueTile::kBytes);
    return kRoom / QueryTile::kBytes < 3 ? kRoom / QueryTile::kBytes : 3;
  }();
  // Whether a tile begins under the end of the one before, whose rows leave by way of their
  // queries' place.
  static constexpr bool kOverlaps = kQueries > 1;
  static_assert(!kOverlaps || kHeadDimV <= kHeadDim);
  static constexpr int kTiles = 8;  // tiles of work between the producer and its readers
  static constexpr int kProducerRegisters = 56, kConsumerRegisters = 224;
  // Two: the next tile's weights are made while products still read all of this one's. One: each
  // part of them when a part of the products is done.
  static constexpr int kWeightSets = 2;

  struct Work {
    PrefillTile tile;
    int32_t head;     // of the keys; below 0: there is no more work
    int32_t is_only;  // no block has more
    int32_t unused[2];
  };
  static_assert(kRows == kGroups * kHalfTileRows);
  // Which of the tile's keys each row sees, and which all rows of a warp group do.
  struct Ranges {
    RowNote of_row[kRows];
    KeyRange of_all[kGroups];
    int32_t last_tile[kGroups];  // of keys, that a warp group begins with
    // Quarters of that tile of which some row sees keys, where all rows see all in front of the
    // last of them and logits are plain.
    static constexpr int kAnyColumns = 0;  // otherwise
    int32_t first_quarters[kGroups];
  };
  struct Shared {
    alignas(1024) uint8_t query[kQueries][QueryTile::kBytes];
    alignas(1024) uint8_t key[kStages][KeyTile::kBytes];
    alignas(1024) uint8_t value[kStages][ValueTile::kBytes];
    alignas(16) Ranges ranges[kQueries];
    alignas(16) StagedRows staged[kQueryWarps][kQueries];
    alignas(16) Work work[kTiles];
    uint64_t work_full[kTiles], work_empty[kTiles];
    uint64_t query_full[kQueries], query_empty[kQueries];
    uint64_t query_read[kGroups];  // by the warps of a group, which then put their rows there
    uint64_t key_full[kStages], key_empty[kStages];
    uint64_t value_full[kStages], value_empty[kStages];
  };
  static_assert(sizeof(Shared) <= 227 * 1024);
};

// A place in a ring of kSlots, and the parity that its barrier has when the slot's content is
// there.
template <int kSlots>
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;

  __device__ void advance() {
    if (++slot == kSlots) slot = 0, parity ^= 1;
  }
};

// Tiles of kKeys keys that hold [key_begin, key_end), counted from key 0. There is always one: work
// without keys goes through the same motions with a tile that nobody fills and nobody sees.
template <class Tr>
struct KeyTiles {
  int first, end;

  __device__ explicit KeyTiles(const PrefillTile& tile)
      : first(tile.key_begin / Tr::kKeys),
        end(max((tile.key_end + Tr::kKeys - 1) / Tr::kKeys, first + 1)) {}
};

}  // namespace pagoda::cuda::prefill

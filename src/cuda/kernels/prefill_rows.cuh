// Device only. The packed rows of a tile: where each comes from and which keys it sees. The warps
// that bring a tile's queries work the latter out for those that multiply.
#pragma once

#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

struct TileRow {
  int token;  // of the request
  int query_head;
  bool real;  // behind the request's last row there are others, of nothing

  // index: in the tile.
  __device__ TileRow(const AttendParams& params, const PrefillTile& tile, int head, int index) {
    const int packed =
        (index < kHalfTileRows ? tile.first_row : tile.second_row - kHalfTileRows) + index;
    const PackedRow row(params, packed, head);
    token = row.token, query_head = row.query_head;
    real = packed < tile.query_len * params.group.value;
  }
  // In its sequence.
  __device__ int position(const PrefillTile& tile) const {
    return tile.seq_len - tile.query_len + token;
  }
};

// The part of `keys` that is the tile's.
__device__ inline KeyRange within(const PrefillTile& tile, const KeyRange& keys) {
  return {max(keys.begin, tile.key_begin), min(keys.end, tile.key_end)};
}

// Fills in what the rows of a tile see; thread: of num_threads.
template <class Tr>
__device__ void find_ranges(const AttendParams& params, const PrefillTile& tile,
                            typename Tr::Ranges& ranges, int thread, int num_threads) {
  const Mask mask = mask_of_request(params.mask, tile.flags & kItemIsCausal);
  for (int row = thread; row < Tr::kRows; row += num_threads) {
    const int position = TileRow(params, tile, 0, row).position(tile);
    const KeyRange seen = within(tile, visible_keys(mask, position, tile.seq_len));
    ranges.of_row[row] = {static_cast<uint16_t>(min(seen.begin - tile.key_begin, 0xffff)),
                          static_cast<uint16_t>(min(tile.key_end - seen.end, 0xffff))};
  }
  if (thread >= Tr::kGroups) return;
  const int first_row = thread == 0 ? tile.first_row : tile.second_row;
  const int last_real = tile.query_len * params.group.value - first_row - 1;
  const int first = kHalfTileRows * thread;
  const int last = first + max(min(kHalfTileRows - 1, last_real), 0);
  const int first_position = TileRow(params, tile, 0, first).position(tile);
  const int last_position = TileRow(params, tile, 0, last).position(tile);
  ranges.of_all[thread] =
      within(tile, all_visible(mask, first_position, last_position, tile.seq_len));
  const KeyTiles<Tr> tiles(tile);
  ranges.last_tile[thread] = tiles.end - 1;
  if (!(tile.flags & kTileIsPaired)) return;
  const KeyRange any = within(tile, any_visible(mask, first_position, last_position, tile.seq_len));
  ranges.last_tile[thread] = last_real < 0 || any.empty() ? tiles.first : (any.end - 1) / Tr::kKeys;
}

}  // namespace pagoda::cuda::prefill

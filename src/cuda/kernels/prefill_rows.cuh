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
    const int packed = tile.first_row + index;
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
  const int last_real = tile.query_len * params.group.value - tile.first_row - 1;
  const int first = 64 * thread, last = max(min(first + 63, last_real), first);
  ranges.of_all[thread] =
      within(tile, all_visible(mask, TileRow(params, tile, 0, first).position(tile),
                               TileRow(params, tile, 0, last).position(tile), tile.seq_len));
}

}  // namespace pagoda::cuda::prefill

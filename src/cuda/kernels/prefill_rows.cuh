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

// Whether the logit is the scale alone, which then joins the exponent.
__device__ inline bool is_plain(const Score2& score) {
  return score.cap == 0 && score.alibi == Alibi::none && score.scale > 0;
}

// What the rows of a warp group see.
template <class Tr>
__device__ void find_common_ranges(const AttendParams& params, const PrefillTile& tile,
                                   const Mask& mask, typename Tr::Ranges& ranges, int group) {
  const int first_row = group == 0 ? tile.first_row : tile.second_row;
  const int last_real = tile.query_len * params.group.value - first_row - 1;
  const int first = kHalfTileRows * group;
  const int last = first + max(min(kHalfTileRows - 1, last_real), 0);
  const int first_position = TileRow(params, tile, 0, first).position(tile);
  const int last_position = TileRow(params, tile, 0, last).position(tile);
  const KeyRange all = within(tile, all_visible(mask, first_position, last_position, tile.seq_len));
  const KeyRange any = within(tile, any_visible(mask, first_position, last_position, tile.seq_len));
  const KeyTiles<Tr> tiles(tile);
  int last_tile = tiles.end - 1;
  if (tile.flags & kTileIsPaired)
    last_tile = last_real < 0 || any.empty() ? tiles.first : (any.end - 1) / Tr::kKeys;
  ranges.of_all[group] = all;
  ranges.last_tile[group] = last_tile;
  constexpr int kQuarter = Tr::kKeys / 4;
  const int key = last_tile * Tr::kKeys;
  const int quarters = min(max((any.end - key + kQuarter - 1) / kQuarter, 1), 4);
  const bool simple = is_plain(params.score) && all.begin <= key &&
                      (quarters == 1 || all.end >= key + (quarters - 1) * kQuarter);
  ranges.first_quarters[group] = simple ? quarters : Tr::Ranges::kAnyColumns;
}

// Fills in what rows [first, first + num_rows) of a tile see; whole halves. By one warp.
template <class Tr>
__device__ void find_ranges(const AttendParams& params, const PrefillTile& tile,
                            typename Tr::Ranges& ranges, int first, int num_rows) {
  const int lane = threadIdx.x % 32;
  const Mask mask = mask_of_request(params.mask, tile.flags & kItemIsCausal);
  for (int row = first + lane; row < first + num_rows; row += 32) {
    const int position = TileRow(params, tile, 0, row).position(tile);
    const KeyRange seen = within(tile, visible_keys(mask, position, tile.seq_len));
    ranges.of_row[row].hidden = {static_cast<uint16_t>(min(seen.begin - tile.key_begin, 0xffff)),
                                 static_cast<uint16_t>(min(tile.key_end - seen.end, 0xffff))};
  }
  if (lane >= num_rows / kHalfTileRows) return;
  find_common_ranges<Tr>(params, tile, mask, ranges, first / kHalfTileRows + lane);
}

}  // namespace pagoda::cuda::prefill

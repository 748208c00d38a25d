// Device only. What a thread of a warp group knows about its two rows of a tile, g and g + 8 of its
// warp's sixteen with g = lane / 4.
#pragma once

#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

// Row g + 8 e. first: the first row of the warp group in the tile.
struct TileRow {
  int token;  // of the request
  int query_head;
  bool real;  // behind the request's last row there are others, of nothing

  __device__ TileRow(const AttendParams& params, const PrefillTile& tile, int head, int first,
                     int e) {
    const int packed =
        tile.first_row + first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + 8 * e;
    const PackedRow row(params, packed, head);
    token = row.token, query_head = row.query_head;
    real = packed < tile.query_len * params.group.value;
  }
};

// What their logits depend on.
struct Rows {
  int position[2];   // of the query in its sequence
  KeyRange seen[2];  // keys
  float slope2[2];
  int all_begin, all_end;  // keys that every row of this warp group sees

  __device__ Rows(const AttendParams& params, const PrefillTile& tile, int head, int first) {
    const Mask mask = mask_of_request(params.mask, tile.flags & kItemIsCausal);
    const int context = tile.seq_len - tile.query_len;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const TileRow row(params, tile, head, first, e);
      position[e] = context + row.token;
      seen[e] = visible_keys(mask, position[e], tile.seq_len);
      seen[e].begin = max(seen[e].begin, tile.key_begin);
      seen[e].end = min(seen[e].end, tile.key_end);
      slope2[e] = params.alibi_slopes && row.real ? kLog2e * params.alibi_slopes[row.query_head] : 0;
    }
    const int first_row = tile.first_row + first;
    const int last_row =
        max(min(first_row + 63, tile.query_len * params.group.value - 1), first_row);
    const KeyRange all = all_visible(mask, context + params.group.divide(first_row),
                                     context + params.group.divide(last_row), tile.seq_len);
    all_begin = max(all.begin, tile.key_begin);
    all_end = min(all.end, tile.key_end);
  }
};

}  // namespace pagoda::cuda::prefill

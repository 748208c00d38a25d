// Device only. From products of queries and keys to logits, in the registers of a thread that
// multiplies. A thread holds rows g and g + 8 of its warp's sixteen, and of every eight columns
// those at 2 c and 2 c + 1, with g = lane / 4 and c = lane % 4: scores i and i + 1 are of row g
// where i / 2 is even, of columns i / 4 * 8 + 2 c and the next.
#pragma once

#include "prefill_rows.cuh"
#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

// What a thread knows of its rows.
template <class Tr>
struct ThreadRows {
  KeyRange seen[2], all;  // all: what every row of the warp group sees

  // first: the thread's first row in the tile.
  __device__ ThreadRows(const PrefillTile& tile, const typename Tr::Ranges& ranges, int first,
                        int group)
      : seen{without(tile, ranges.of_row[first].hidden),
             without(tile, ranges.of_row[first + 8].hidden)},
        all(ranges.of_all[group]) {}
  static __device__ KeyRange without(const PrefillTile& tile, const HiddenEnds& hidden) {
    return {tile.key_begin + hidden.front, tile.key_end - hidden.back};
  }
};

// Of a thread's columns 0, 1, 8, 9, 16, 17, ... those in front of `end`, a bit for each.
template <int kKeys>
__device__ uint32_t columns_below(int end) {
  const int inside = min(max(end, 0), kKeys);
  const int count = inside / 8 * 2 + min(inside % 8, 2);
  return count == 32 ? ~0u : (1u << count) - 1;
}

// Of a thread's scores of a tile of keys those in [kBegin, kEnd) that its rows do not see. first:
// the tile's first key.
template <int kBegin, int kEnd, class Rows, int kScores>
__device__ __forceinline__ void hide(const Rows& rows, int first, float (&s)[kScores]) {
  constexpr int kKeys = 2 * kScores;
  const int own = first + 2 * (threadIdx.x % 4);
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const uint32_t seen = columns_below<kKeys>(rows.seen[e].end - own) &
                          ~columns_below<kKeys>(rows.seen[e].begin - own);
#pragma unroll
    for (int i = kBegin + 2 * e; i < kEnd; i += 4) {
      if (!(seen >> (i / 4 * 2) & 1)) s[i] = -INFINITY;
      if (!(seen >> (i / 4 * 2 + 1) & 1)) s[i + 1] = -INFINITY;
    }
  }
}

// Scores to logits in base 2, whatever the score. first_row: the thread's, in the tile; first: the
// tile's first key.
template <class Work, int kScores>
__device__ void apply_score(const AttendParams& params, const Work& work, int first_row, int first,
                            float (&scores)[kScores]) {
  const Score2& score = params.score;
  if (score.cap > 0) {
#pragma unroll
    for (float& s : scores) s = apply_cap(score, s);
  } else {
#pragma unroll
    for (float& s : scores) s *= score.scale;
  }
  if (score.alibi == Alibi::none) return;
  const bool linear = score.alibi == Alibi::linear;
  const int own = first + 2 * (threadIdx.x % 4);
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const TileRow row(params, work.tile, work.head, first_row + 8 * e);
    const int position = row.position(work.tile);
    const float slope2 = row.real ? kLog2e * params.alibi_slopes[row.query_head] : 0;
#pragma unroll
    for (int i = 2 * e; i < kScores; i += 4) {
      scores[i] += alibi2(linear, slope2, position, own + i / 4 * 8);
      scores[i + 1] += alibi2(linear, slope2, position, own + i / 4 * 8 + 1);
    }
  }
}

}  // namespace pagoda::cuda::prefill

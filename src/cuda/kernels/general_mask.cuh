// Device only. Which tiles of keys the block mask shows to the rows at work, and the bits of those.
// Each thread follows one row through its list of tiles.
#pragma once

#include "general_traits.cuh"

namespace pagoda::cuda::general {

template <class Tr>
class MaskWalk {
 public:
  __device__ MaskWalk(const AttendParams& params, typename Tr::Shared& shared,
                      const PrefillTile& tile, int head)
      : mask_(params.block_mask), shared_(shared) {
    const int packed = tile.first_row + static_cast<int>(threadIdx.x);
    if (threadIdx.x >= Tr::kRows) return;
    auto& [entry, end, first_word] = shared_.walk[threadIdx.x];
    entry = end = 0;
    if (packed >= tile.query_len * params.group.value) return;
    const PackedRow place(params, packed, head);
    const int64_t mask_head = int64_t{place.query_head} * mask_.num_heads / params.num_heads;
    // The number of tiles is read here, so that a replayed graph follows another mask.
    const int64_t list = mask_head * mask_.tile_start[mask_.num_reqs] + mask_.tile_start[tile.req] +
                         place.token / mask_.tile_q;
    entry = mask_.row_start[list], end = mask_.row_start[list + 1];
    first_word = place.token % mask_.tile_q * (mask_.tile_kv / 32);
  }

  // The first tile of keys from `index` on of which some row sees a key, below `end`; otherwise
  // `end`. Leaves its bits in words `slot`. By all threads.
  __device__ int find(int index, int end, int slot) {
    while (index < end) {
      uint32_t bits;
      const int own = look_at(index, bits);
      if (threadIdx.x < Tr::kRows) shared_.words[slot][threadIdx.x] = bits;
      const int next = smallest(own);
      if (next == index) return index;
      index = next;
    }
    return end;
  }

 private:
  // The bits of this thread's row; the next tile that it wants, `index` if it sees some.
  __device__ int look_at(int index, uint32_t& bits) {
    const int64_t key = int64_t{index} * Tr::kKeys;
    const int32_t tile_kv = mask_.tile_kv;
    bits = 0;
    if (threadIdx.x >= Tr::kRows) return INT32_MAX;
    auto& [entry, end, first_word] = shared_.walk[threadIdx.x];
    while (entry < end && (int64_t{mask_.tile[entry]} + 1) * tile_kv <= key) ++entry;
    if (entry >= end) return INT32_MAX;
    const int64_t first = int64_t{mask_.tile[entry]} * tile_kv;
    if (first > key) return static_cast<int>(first / Tr::kKeys);
    const int32_t at = mask_.bits_at[entry];
    bits = at < 0 ? ~0u : mask_.bits[int64_t{at} + first_word + (key - first) / 32];
    return bits ? index : index + 1;
  }

  __device__ int smallest(int own) {
    own = __reduce_min_sync(~0u, own);
    __syncthreads();  // the round before has been read
    if (threadIdx.x % 32 == 0) shared_.next[threadIdx.x / 32] = own;
    __syncthreads();
    for (const int other : shared_.next) own = min(own, other);
    return own;
  }

  const BlockTiles& mask_;
  typename Tr::Shared& shared_;
};

}  // namespace pagoda::cuda::general

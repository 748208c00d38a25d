// Host and device. The keys of a prefill tile, which the host needs for the boxes of tensor maps.
#pragma once

#include <cstdint>

namespace pagoda::cuda::prefill {

// As many as shared memory holds twice beside the queries.
constexpr int32_t keys_per_tile(int32_t head_dim, int32_t head_dim_v) {
  return head_dim + head_dim_v > 320 ? 64 : 128;
}

}  // namespace pagoda::cuda::prefill

namespace pagoda::cuda::mixed {

// Keys, or values, that one slot of the decoding half's ring holds: a tile for each stream.
inline constexpr int32_t kTileKeys = 16, kSlotKeys = 64;

}  // namespace pagoda::cuda::mixed

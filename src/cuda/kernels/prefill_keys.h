// Host and device. The keys of a prefill tile, which the host needs for the boxes of tensor maps.
#pragma once

#include <cstdint>

namespace pagoda::cuda::prefill {

// As many as shared memory holds twice beside the queries.
constexpr int32_t keys_per_tile(int32_t head_dim, int32_t head_dim_v) {
  return head_dim + head_dim_v > 320 ? 64 : 128;
}

}  // namespace pagoda::cuda::prefill

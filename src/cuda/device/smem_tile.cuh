// Device only. Where a 16-byte chunk of a row lies in a shared-memory tile, such that the eight rows
// that one ldmatrix phase reads lie in different banks.
#pragma once

#include <cstdint>

namespace pagoda::cuda {

// kChunks: 16-byte chunks of a row. A multiple of eight is swizzled, anything else padded to an odd
// number of chunks.
template <int kChunks>
struct RowTile {
  static constexpr bool kSwizzled = kChunks % 8 == 0;
  static constexpr int kRowBytes = 16 * (kSwizzled ? kChunks : kChunks | 1);

  static __device__ constexpr uint32_t offset(int row, int chunk) {
    return static_cast<uint32_t>(row * kRowBytes + 16 * (kSwizzled ? chunk ^ (row & 7) : chunk));
  }
};

}  // namespace pagoda::cuda

// Device only. Where a 16-byte chunk of a row lies in a shared-memory tile, such that the eight
// rows that one ldmatrix phase reads lie in different banks.
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
  // Of row first + row, where first is a multiple of a power of two that is above row.
  static __device__ constexpr uint32_t offset(int first, int row, int chunk) {
    return static_cast<uint32_t>(first * kRowBytes + row * kRowBytes +
                                 16 * (kSwizzled ? chunk ^ row ^ (first & 7) : chunk));
  }
};

// What the copy engine makes of kRows rows with the 128-byte swizzle: slabs of 64 elements, each
// [kRows, 128 bytes] and aligned to 1024 bytes.
inline constexpr int kSlabElements = 64;

template <int kRows, int kHeadDim>
struct SlabTile {
  static constexpr int kSlabs = (kHeadDim + kSlabElements - 1) / kSlabElements;
  static constexpr int kSlabBytes = kRows * 128;
  static constexpr int kBytes = kSlabs * kSlabBytes;

  static __device__ constexpr uint32_t offset(int row, int chunk) {
    return static_cast<uint32_t>(chunk / 8 * kSlabBytes + row * 128 + 16 * (chunk % 8 ^ (row & 7)));
  }
};

}  // namespace pagoda::cuda

// The tile registers of AMX: eight of 16 rows of 64 bytes. Everything here is one instruction.
// Tiles of operands hold pairs of 16-bit elements, the halves of a word; which element, and what
// goes with it, is the unit's (amx_bf16.inl.h, amx_f16.inl.h).
//
// Compilers' own intrinsics do not say that they read and write memory, so stores that feed a load
// of a tile may be deleted; hence inline assembly, which says so. Every unit uses one configuration
// for all kernels, because setting another costs as much as dozens of products.
//
// product<C, A, B> of such a file, by the manual and on every machine tried, computes for each row
// m and column n of C, with fused multiply-adds to the nearest that take subnormals of float for 0,
//
//     even = 0; for k = 0 .. 15: even += A[m][2k] * B[k][2n]
//     odd  = 0; for k = 0 .. 15: odd += A[m][2k + 1] * B[k][2n + 1]
//     C[m][n] += even + odd
//
// tests/unit/cpu/amx_test.cpp holds the machine to that: the bits of attention rely on it.
#pragma once

#include "isa/vector_tiles.inl.h"
#include "kernels.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kTileRows = 16;
constexpr int kTileRowBytes = 64;
constexpr int kTileBytes = kTileRows * kTileRowBytes;
constexpr int kChunkDims = 32;  // of one step of the products of queries and keys

// Rows and bytes of a row of each tile, as the instruction reads them.
struct alignas(64) TileLayout {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  constexpr void set(int tile, int num_rows, int bytes) {
    rows[tile] = static_cast<uint8_t>(num_rows);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};

// What the tiles hold is lost.
inline void configure_tiles(const TileLayout& layout) {
  __asm__ volatile("ldtilecfg %0" : : "m"(layout) : "memory");
}

constexpr TileLayout full_tiles() {
  TileLayout all;
  for (int i = 0; i < 8; ++i) all.set(i, kTileRows, kTileRowBytes);
  return all;
}
constexpr TileLayout kFullTiles = full_tiles();

inline void configure_full_tiles() {
  configure_tiles(kFullTiles);
}

// While it lives, the thread's tiles have the sizes that it or configure_tiles gave them. Tiles are
// released at the end, because a thread that holds them costs eight kilobytes at every switch.
class TileConfig {
 public:
  explicit TileConfig(const TileLayout& layout = kFullTiles) { configure_tiles(layout); }
  ~TileConfig() { __asm__ volatile("tilerelease" : : : "memory"); }
  TileConfig(const TileConfig&) = delete;
  TileConfig& operator=(const TileConfig&) = delete;
};

template <int kTile>
[[gnu::always_inline]] inline void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

// Rows lie `stride` bytes apart.
template <int kTile>
[[gnu::always_inline]] inline void load_tile(const void* from, int64_t stride = kTileRowBytes) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0"
                   :
                   : "i"(kTile), "r"(from), "r"(stride)
                   : "memory");
}

// For what comes from beyond the first-level cache and is not to displace what is in it.
template <int kTile>
[[gnu::always_inline]] inline void stream_tile(const void* from, int64_t stride = kTileRowBytes) {
  __asm__ volatile("tileloaddt1 (%1,%2,1), %%tmm%c0"
                   :
                   : "i"(kTile), "r"(from), "r"(stride)
                   : "memory");
}

template <int kTile>
[[gnu::always_inline]] inline void store_tile(void* to, int64_t stride = kTileRowBytes) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)"
                   :
                   : "i"(kTile), "r"(to), "r"(stride)
                   : "memory");
}

// Thirty-two halves of words from element `first` of a row on, zeros behind its `dim` elements.
[[gnu::always_inline]] inline __m512i load_halves(const char* row, int first, int dim) {
  const int left = dim - first;
  if (__builtin_expect(left >= kChunkDims, true)) return _mm512_loadu_si512(row + first * 2);
  return _mm512_maskz_loadu_epi16((1u << left) - 1, row + first * 2);
}

}  // namespace pagoda::cpu::PAGODA_ISA

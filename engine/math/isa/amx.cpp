// Many rows times a panel by the tile registers: 16 rows times 16 columns in one instruction for
// each group (or half group, where that has a scale of its own). The panel's codes are unpacked to
// signed bytes once for all rows. The whole numbers that come out are scaled and added as in
// avx512.cpp, so a row's bits do not tell which of the two computed it.
#include <immintrin.h>

#include "engine/math/isa/kernels.h"

namespace pagoda::engine::amx {

#include "engine/math/isa/unpack512.inl.h"

constexpr int kTileRows = 16;
constexpr int64_t kGroupCodes = kGroupInputs * kPanelColumns;  // bytes of a group, unpacked
constexpr int64_t kDots = 16 * 16;                             // elements of a result tile

// Tiles 0 and 1 take results, 2 and 3 the rows' codes, 4 and 5 the panel's; 6 and 7 those of half a
// group.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 32, 32, 64, 64, 16, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 8, 8, 16, 4};
};

// The compiler's own intrinsic says that it reads eight bytes of the configuration, and the rest
// may be optimised away.
void configure_tiles() {
  const TileConfig config;
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}
void release_tiles() {
  __asm__ volatile("tilerelease");
}

// dots = rows' codes (kGroup bytes of each) * panel's codes
template <int kSet>
inline void multiply_group(const int8_t* rows, int64_t row_stride, const uint8_t* panel,
                           int32_t* dots) {
  if constexpr (kSet == 0)
    __asm__ volatile(
        "tilezero %%tmm0\n\ttileloadd (%0,%1,1), %%tmm2\n\ttileloadd (%2,%3,1), %%tmm4\n\t"
        "tdpbssd %%tmm4, %%tmm2, %%tmm0\n\ttilestored %%tmm0, (%4,%3,1)" ::"r"(rows),
        "r"(row_stride), "r"(panel), "r"(int64_t{64}), "r"(dots)
        : "memory");
  else if constexpr (kSet == 1)
    __asm__ volatile(
        "tilezero %%tmm1\n\ttileloadd (%0,%1,1), %%tmm3\n\ttileloadd (%2,%3,1), %%tmm5\n\t"
        "tdpbssd %%tmm5, %%tmm3, %%tmm1\n\ttilestored %%tmm1, (%4,%3,1)" ::"r"(rows),
        "r"(row_stride), "r"(panel), "r"(int64_t{64}), "r"(dots)
        : "memory");
  else
    __asm__ volatile(
        "tilezero %%tmm0\n\ttileloadd (%0,%1,1), %%tmm6\n\ttileloadd (%2,%3,1), %%tmm7\n\t"
        "tdpbssd %%tmm7, %%tmm6, %%tmm0\n\ttilestored %%tmm0, (%4,%3,1)" ::"r"(rows),
        "r"(row_stride), "r"(panel), "r"(int64_t{64}), "r"(dots)
        : "memory");
}

// Both halves of a group of two scales, or the whole of another.
//   dots [scales_per_group, 16, 16]
template <PanelFormat kFormat, int kSet>
inline void dots_of_group(const int8_t* codes, int64_t stride, const uint8_t* panel,
                          int32_t* dots) {
  if constexpr (panel_traits(kFormat).scales_per_group == 1) {
    multiply_group<kSet>(codes, stride, panel, dots);
  } else {
    multiply_group<2>(codes, stride, panel, dots);
    multiply_group<2>(codes + kGroupInputs / 2, stride, panel + kGroupCodes / 2, dots + kDots);
  }
}

// [num_groups, 8, 64] signed codes, offsets taken away
template <PanelFormat kFormat>
void unpack_panel(const Panel& panel, uint8_t* unpacked) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(kTraits.offset));
  for (int64_t g = 0; g < panel.num_groups; g++) {
    __m512i weights[8];
    unpack_group<kTraits.code_bits>(panel.codes + g * kTraits.code_bytes(), weights);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
      _mm512_store_si512(unpacked + g * kGroupCodes + 64 * v, _mm512_sub_epi8(weights[v], offset));
  }
}

// Adds a group to the sums of 16 rows.
template <PanelFormat kFormat>
__attribute__((always_inline)) inline void add_group_to_rows(__m512* sums, const int32_t* dots,
                                                             const GroupScales& scales,
                                                             const float* row_scales,
                                                             const float* row_sums,
                                                             int64_t row_stride) {
#pragma GCC unroll 16
  for (int row = 0; row < kTileRows; row++) {
    const __m512i parts[2] = {_mm512_load_si512(dots + 16 * row),
                              panel_traits(kFormat).scales_per_group == 1
                                  ? _mm512_setzero_si512()
                                  : _mm512_load_si512(dots + kDots + 16 * row)};
    sums[row] = add_group<kFormat>(sums[row], parts, scales, row_scales[row * row_stride],
                                   row_sums[row * row_stride]);
  }
}

// Up to 16 rows. Tiles run one group ahead of the sums, so that neither waits for the other. The
// first rows also fetch the panel behind this one.
template <PanelFormat kFormat, bool kFetch>
void multiply_tile(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                   const uint8_t* unpacked, int32_t* dots, const PanelOut& out) {
  const int64_t num_groups = panel.num_groups, stride = num_groups * kGroupInputs;
  const int8_t* const codes = rows.codes + first * stride;
  const float* const row_scales = rows.scales + first * num_groups;
  const float* const row_sums = rows.sums + first * num_groups;
  int32_t* const other_dots = dots + 2 * kDots;
  __m512 sums[kTileRows];
#pragma GCC unroll 16
  for (int row = 0; row < kTileRows; row++) sums[row] = _mm512_setzero_ps();

  const auto start_even = [&](int64_t g) __attribute__((always_inline)) {
    dots_of_group<kFormat, 0>(codes + g * kGroupInputs, stride, unpacked + g * kGroupCodes, dots);
  };
  const auto start_odd = [&](int64_t g) __attribute__((always_inline)) {
    dots_of_group<kFormat, 1>(codes + g * kGroupInputs, stride, unpacked + g * kGroupCodes,
                              other_dots);
  };
  const uint8_t* ahead = panel.codes + panel_bytes(kFormat, num_groups);
  const auto add = [&](int64_t g, const int32_t* from) __attribute__((always_inline)) {
    if constexpr (kFetch) ahead = fetch<panel_traits(kFormat).group_bytes()>(ahead);
    add_group_to_rows<kFormat>(sums, from, load_scales<kFormat>(panel, g), row_scales + g,
                               row_sums + g, num_groups);
  };
  start_even(0);
  int64_t g = 0;
  for (; g + 2 < num_groups; g += 2) {
    start_odd(g + 1);
    add(g, dots);
    start_even(g + 2);
    add(g + 1, other_dots);
  }
  if (g + 1 < num_groups) start_odd(g + 1);
  add(g, dots);
  if (g + 1 < num_groups) add(g + 1, other_dots);

  const auto finish = [&](int row) __attribute__((always_inline)) {
    if (row < count) finish_row(out, first + row, sums[row]);
  };
#pragma GCC unroll 16
  for (int row = 0; row < kTileRows; row++) finish(row);
}

template <PanelFormat kFormat>
void multiply_format(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                     const PanelOut& out, uint8_t* scratch) {
  auto* const dots = reinterpret_cast<int32_t*>(scratch);
  uint8_t* const unpacked = scratch + 4 * kDots * sizeof(int32_t);
  unpack_panel<kFormat>(panel, unpacked);
  const int64_t end = first + count;
  multiply_tile<kFormat, true>(panel, rows, first, count, unpacked, dots, out);
  for (int64_t tile = first + kTileRows; tile < end; tile += kTileRows)
    multiply_tile<kFormat, false>(panel, rows, tile, end - tile, unpacked, dots, out);
}

#include "engine/math/isa/formats.inl.h"

void multiply(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
              const PanelOut& out, uint8_t* scratch) {
  kMultiply[static_cast<int>(panel.format)](panel, rows, first, count, out, scratch);
}

extern const TileKernels kTileKernels = {
    .begin = configure_tiles, .multiply = multiply, .end = release_tiles};

}  // namespace pagoda::engine::amx

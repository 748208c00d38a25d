// The kernels for AVX-512 with VNNI: a vector holds four inputs of all 16 columns of a panel, and
// one instruction multiplies it by the four codes of a row and adds up.
#include <immintrin.h>

#include "engine/math/isa/kernels.h"

namespace pagoda::engine::avx512 {

#include "engine/math/isa/ops.inl.h"
#include "engine/math/isa/unpack512.inl.h"

// Four codes of a row, for all columns.
inline __m512i four_codes(const int8_t* codes) {
  return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(codes));
}

// Sums of the code products of inputs 0..15 and 16..31 of a group.
template <int kOffset>
inline void dot_halves(const __m512i* weights, const int8_t* codes, const int32_t* code_sums,
                       __m512i dots[2]) {
  for (int half = 0; half < 2; half++) {
    dots[half] =
        kOffset == 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(-kOffset * code_sums[half]);
#pragma GCC unroll 4
    for (int v = 4 * half; v < 4 * half + 4; v++)
      dots[half] = _mm512_dpbusd_epi32(dots[half], weights[v], four_codes(codes + 4 * v));
  }
}

constexpr int64_t kFetchAhead = 12 << 10;  // bytes; changes speed, never results

// sums[kRows]: rows `first` and following times a panel.
template <PanelFormat kFormat, int kRows>
inline void multiply_rows(const Panel& panel, const CodedRows& rows, int64_t first, __m512* sums) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  for (int row = 0; row < kRows; row++) sums[row] = _mm512_setzero_ps();
  const uint8_t* ahead = panel.codes + kFetchAhead;
  for (int64_t g = 0; g < panel.num_groups; g++) {
    ahead = fetch<kTraits.group_bytes()>(ahead);
    __m512i weights[8];
    unpack_group<kTraits.code_bits>(panel.codes + g * kTraits.code_bytes(), weights);
    const GroupScales scales = load_scales<kFormat>(panel, g);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; row++) {
      const int64_t at = (first + row) * rows.num_groups + g;
      __m512i dots[2];
      dot_halves<kTraits.offset>(weights, rows.codes + at * kGroupInputs, rows.code_sums + 2 * at,
                                 dots);
      sums[row] = add_group<kFormat>(sums[row], dots, scales, rows.scales[at], rows.sums[at]);
    }
  }
}

template <PanelFormat kFormat, int kRows>
void multiply_some(const Panel& panel, const CodedRows& rows, int64_t first, int64_t out_row,
                   const PanelOut& out) {
  __m512 sums[kRows];
  multiply_rows<kFormat, kRows>(panel, rows, first, sums);
#pragma GCC unroll 8
  for (int row = 0; row < kRows; row++) finish_row(out, out_row + row, sums[row]);
}

template <PanelFormat kFormat>
void multiply_format(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                     const PanelOut& out) {
  int64_t row = first;
  const int64_t end = first + count;
  for (; row + 8 <= end; row += 8) multiply_some<kFormat, 8>(panel, rows, row, row, out);
  for (; row + 4 <= end; row += 4) multiply_some<kFormat, 4>(panel, rows, row, row, out);
  for (; row + 2 <= end; row += 2) multiply_some<kFormat, 2>(panel, rows, row, row, out);
  for (; row < end; row++) multiply_some<kFormat, 1>(panel, rows, row, row, out);
}

#include "engine/math/isa/formats.inl.h"

void multiply(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
              const PanelOut& out) {
  kMultiply[static_cast<int>(panel.format)](panel, rows, first, count, out);
}

// Halves are what the machine converts by itself.
void to_halves(const float* in, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; i += 16) {
    const auto lanes = static_cast<__mmask16>(size - i >= 16 ? 0xffffu : (1u << (size - i)) - 1);
    const __m512 floats = _mm512_maskz_loadu_ps(lanes, in + i);
    _mm256_mask_storeu_epi16(out + i, lanes, _mm512_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT));
  }
}

void from_halves(const uint16_t* in, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i += 16) {
    const auto lanes = static_cast<__mmask16>(size - i >= 16 ? 0xffffu : (1u << (size - i)) - 1);
    _mm512_mask_storeu_ps(out + i, lanes, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, in + i)));
  }
}

extern const MathKernels kKernels = {
    .name = "avx512",
    .code_row = code_row,
    .multiply = multiply,
    .rms_norm = rms_norm,
    .silu_times = silu_times,
    .rotate = rotate,
    .to_bfloats = to_bfloats,
    .from_bfloats = from_bfloats,
    .to_halves = to_halves,
    .from_halves = from_halves,
};

}  // namespace pagoda::engine::avx512

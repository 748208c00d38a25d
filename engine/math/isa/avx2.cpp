// The kernels for AVX2 with FMA: a vector holds four inputs of eight columns, half a panel.
#include <immintrin.h>

#include "engine/math/isa/kernels.h"

namespace pagoda::engine::avx2 {

#include "engine/math/isa/ops.inl.h"

constexpr int kHalfPanel = 8;  // columns of a vector

template <bool kHalf>
inline __m256 load_numbers(const uint8_t* bytes, int64_t index) {
  if constexpr (kHalf)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 2 * index)));
  return _mm256_loadu_ps(reinterpret_cast<const float*>(bytes + 4 * index));
}

inline __m256i load(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

// 16 where a bit of `bits` is set.
inline __m256i fifth_bits(uint32_t bits) {
  const __m256i byte_of_lane = _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101,
                                                  0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of_lane = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i spread =
      _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int32_t>(bits)), byte_of_lane);
  const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit_of_lane), bit_of_lane);
  return _mm256_and_si256(is_set, _mm256_set1_epi8(16));
}

// The codes of half a panel's group, as unpack512.inl.h has them for a whole one.
//   codes: of the group, from this half's first byte on
template <int kBits>
inline void unpack_group(const uint8_t* codes, __m256i* weights) {
  if constexpr (kBits == 8) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) weights[v] = load(codes + 64 * v);
    return;
  }
  const __m256i low = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
    const __m256i both = load(codes + 64 * v);
    weights[v] = _mm256_and_si256(both, low);
    weights[v + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
  }
}

template <int kBits>
inline void add_fifth_bits(const uint8_t* bits, __m256i* weights) {
  if constexpr (kBits == 5) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
      weights[v] =
          _mm256_or_si256(weights[v], fifth_bits(*reinterpret_cast<const uint32_t*>(bits + 8 * v)));
  }
}

// The code products of four inputs of each column. Pairs are added in 16 bits first, which hold
// twice 63 * 127; bytes up to 255 would not fit, so those of Q8_0 are made numbers from -128 to
// 127, and the sign goes over to the row's code.
template <PanelFormat kFormat>
inline __m256i dot_fours(__m256i weights, __m256i codes) {
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (kFormat != PanelFormat::kQ8_0)
    return _mm256_madd_epi16(_mm256_maddubs_epi16(weights, codes), ones);
  const __m256i numbers = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
  const __m256i pairs =
      _mm256_maddubs_epi16(_mm256_abs_epi8(numbers), _mm256_sign_epi8(codes, numbers));
  return _mm256_madd_epi16(pairs, ones);
}

// Sums of the code products of inputs 0..15 and 16..31 of a group.
template <PanelFormat kFormat>
inline void dot_halves(const __m256i* weights, const int8_t* codes, const int32_t* code_sums,
                       __m256i dots[2]) {
  constexpr int kOffset =
      kFormat == PanelFormat::kQ8_0 ? 0 : panel_traits(kFormat).offset;  // taken away above
  for (int half = 0; half < 2; half++) {
    dots[half] =
        kOffset == 0 ? _mm256_setzero_si256() : _mm256_set1_epi32(-kOffset * code_sums[half]);
#pragma GCC unroll 4
    for (int v = 4 * half; v < 4 * half + 4; v++) {
      const __m256i four = _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(codes + 4 * v));
      dots[half] = _mm256_add_epi32(dots[half], dot_fours<kFormat>(weights[v], four));
    }
  }
}

struct GroupScales {
  __m256 scale[2];
  __m256 minimum;
};

template <PanelFormat kFormat>
inline GroupScales load_scales(const Panel& panel, int64_t group, int first_column) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  GroupScales out;
  for (int i = 0; i < kTraits.scales_per_group; i++)
    out.scale[i] = load_numbers<kTraits.half_scales>(
        panel.scales, (group * kTraits.scales_per_group + i) * kPanelColumns + first_column);
  if constexpr (kTraits.has_minima)
    out.minimum =
        load_numbers<kTraits.half_scales>(panel.minima, group * kPanelColumns + first_column);
  return out;
}

template <PanelFormat kFormat>
inline __m256 add_group(__m256 sum, const __m256i* dots, const GroupScales& scales, float row_scale,
                        float row_sum) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  const __m256 of_row = _mm256_set1_ps(row_scale);
  if constexpr (kTraits.scales_per_group == 1) {
    const __m256 dot = _mm256_cvtepi32_ps(_mm256_add_epi32(dots[0], dots[1]));
    sum = _mm256_fmadd_ps(dot, _mm256_mul_ps(scales.scale[0], of_row), sum);
  } else {
    for (int i = 0; i < 2; i++)
      sum =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[i]), _mm256_mul_ps(scales.scale[i], of_row), sum);
  }
  if constexpr (kTraits.has_minima)
    sum = _mm256_fmadd_ps(scales.minimum, _mm256_set1_ps(row_sum), sum);
  return sum;
}

inline void finish_row(const PanelOut& out, int64_t row, int first_column, __m256 sum) {
  alignas(32) float sums[kHalfPanel];
  _mm256_store_ps(sums, sum);
  float* const to = out.data + row * out.stride;
  for (int i = 0; i < kHalfPanel && first_column + i < out.num_columns; i++) {
    float value = sums[i];
    if (out.bias) value += out.bias[first_column + i];
    to[first_column + i] = out.add ? to[first_column + i] + value : value;
  }
}

template <PanelFormat kFormat, int kRows>
void multiply_half(const Panel& panel, const CodedRows& rows, int64_t first, int first_column,
                   const PanelOut& out) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  __m256 sums[kRows];
  for (int row = 0; row < kRows; row++) sums[row] = _mm256_setzero_ps();
  for (int64_t g = 0; g < panel.num_groups; g++) {
    const uint8_t* const codes = panel.codes + g * kTraits.code_bytes();
    __m256i weights[8];
    unpack_group<kTraits.code_bits>(codes + 4 * first_column, weights);
    add_fifth_bits<kTraits.code_bits>(codes + 256 + first_column / 2, weights);
    const GroupScales scales = load_scales<kFormat>(panel, g, first_column);
    for (int row = 0; row < kRows; row++) {
      const int64_t at = (first + row) * rows.num_groups + g;
      __m256i dots[2];
      dot_halves<kFormat>(weights, rows.codes + at * kGroupInputs, rows.code_sums + 2 * at, dots);
      sums[row] = add_group<kFormat>(sums[row], dots, scales, rows.scales[at], rows.sums[at]);
    }
  }
  for (int row = 0; row < kRows; row++) finish_row(out, first + row, first_column, sums[row]);
}

template <PanelFormat kFormat>
void multiply_format(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                     const PanelOut& out) {
  for (int column = 0; column < out.num_columns; column += kHalfPanel) {
    int64_t row = first;
    const int64_t end = first + count;
    for (; row + 4 <= end; row += 4) multiply_half<kFormat, 4>(panel, rows, row, column, out);
    for (; row < end; row++) multiply_half<kFormat, 1>(panel, rows, row, column, out);
  }
}

#include "engine/math/isa/formats.inl.h"

void multiply(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
              const PanelOut& out) {
  kMultiply[static_cast<int>(panel.format)](panel, rows, first, count, out);
}

// Halves are what the machine converts by itself.
void to_halves(const float* in, int64_t size, uint16_t* out) {
  int64_t i = 0;
  for (; i + 8 <= size; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < size; i++)
    out[i] = static_cast<uint16_t>(
        _mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(in[i]), _MM_FROUND_TO_NEAREST_INT), 0));
}

void from_halves(const uint16_t* in, int64_t size, float* out) {
  int64_t i = 0;
  for (; i + 8 <= size; i += 8)
    _mm256_storeu_ps(out + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  for (; i < size; i++) out[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(in[i])));
}

extern const MathKernels kKernels = {
    .name = "avx2",
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

}  // namespace pagoda::engine::avx2

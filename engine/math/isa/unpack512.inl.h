// Reading a panel and finishing a row of its product with vectors of 512 bits. Included inside the
// namespace of an instruction set.

struct GroupScales {
  __m512 scale[2];
  __m512 minimum;
};

// [16] numbers, the index-th sixteen at `bytes`.
template <bool kHalf>
inline __m512 load_numbers(const uint8_t* bytes, int64_t index) {
  if constexpr (kHalf)
    return _mm512_cvtph_ps(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32 * index)));
  return _mm512_loadu_ps(reinterpret_cast<const float*>(bytes + 64 * index));
}

template <PanelFormat kFormat>
inline GroupScales load_scales(const Panel& panel, int64_t group) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  GroupScales out;
  for (int i = 0; i < kTraits.scales_per_group; i++)
    out.scale[i] =
        load_numbers<kTraits.half_scales>(panel.scales, group * kTraits.scales_per_group + i);
  if constexpr (kTraits.has_minima)
    out.minimum = load_numbers<kTraits.half_scales>(panel.minima, group);
  return out;
}

// The codes of a group as bytes: weights[v] holds inputs 4 v .. 4 v + 3 of each column.
template <int kBits>
inline void unpack_group(const uint8_t* codes, __m512i* weights) {
  if constexpr (kBits == 8) {
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) weights[v] = _mm512_loadu_si512(codes + 64 * v);
    return;
  }
  const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
    const __m512i both = _mm512_loadu_si512(codes + 64 * v);
    weights[v] = _mm512_and_si512(both, low);
    weights[v + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
  }
  if constexpr (kBits == 5) {
    const __m512i fifth = _mm512_set1_epi8(16);
    const auto* const bits = reinterpret_cast<const uint64_t*>(codes + 256);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
      weights[v] = _mm512_mask_add_epi8(weights[v], bits[v], weights[v], fifth);
  }
}

// `sum` with a group added. dots: of its halves; only the first where they share a scale and have
// been added up.
template <PanelFormat kFormat>
inline __m512 add_group(__m512 sum, const __m512i* dots, const GroupScales& scales, float row_scale,
                        float row_sum) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  const __m512 of_row = _mm512_set1_ps(row_scale);
  if constexpr (kTraits.scales_per_group == 1) {
    const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(dots[0], dots[1]));
    sum = _mm512_fmadd_ps(dot, _mm512_mul_ps(scales.scale[0], of_row), sum);
  } else {
    for (int i = 0; i < 2; i++)
      sum =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[i]), _mm512_mul_ps(scales.scale[i], of_row), sum);
  }
  if constexpr (kTraits.has_minima)
    sum = _mm512_fmadd_ps(scales.minimum, _mm512_set1_ps(row_sum), sum);
  return sum;
}

// With few rows the products wait for memory, and hardware does not see that the panels behind this
// one follow it. Asks for as much of them as a group has; returns where the next share begins.
template <int64_t kBytes>
inline const uint8_t* fetch(const uint8_t* from) {
  for (int64_t i = 0; i < kBytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(from + i), _MM_HINT_T0);
  return from + kBytes;
}

inline void finish_row(const PanelOut& out, int64_t row, __m512 sum) {
  const auto columns = static_cast<__mmask16>((1u << out.num_columns) - 1);
  float* const to = out.data + row * out.stride;
  if (out.bias) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(columns, out.bias));
  if (out.add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(columns, to), sum);
  _mm512_mask_storeu_ps(to, columns, sum);
}

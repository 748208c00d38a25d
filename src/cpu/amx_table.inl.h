// Attention with tiles as functions for kernels.h.
#pragma once

#include "amx_codes_task.inl.h"
#include "amx_pipeline.inl.h"
#include "amx_run.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

void multiply_tiles(const void* a, const void* b, float* c) {
  const TileConfig config;
  load_tile<0>(c);
  load_tile<1>(a);
  load_tile<2>(b);
  product<0, 1, 2>();
  store_tile<0>(c);
}

void convert_codes(Element element, const void* codes, int32_t dim, void* halves) {
  const char* row = static_cast<const char*>(codes);
  make_halves(element, &row, 1, dim, static_cast<char*>(halves), [] {});
}

void run_score_steps(const ScoreSteps& steps, int32_t first_row, int32_t num_rows,
                     int32_t first_key, float* scores) {
  run_steps(steps, first_row, num_rows, first_key, kUnits, scores);
}

inline int32_t padded_dim(int32_t head_dim_v) {
  return chunks_of(head_dim_v) * kChunkDims;
}

inline int64_t own_bytes(int32_t head_dim, int32_t head_dim_v, int32_t max_rows) {
  return AmxScratch(nullptr, head_dim, head_dim_v, max_rows).size;
}

// Rows behind the last are zeros, so that a pair of groups is always whole where pairs are used.
inline void take_queries(const QueryRows& queries, int32_t head_dim_v, void* own) {
  const AmxScratch scratch(own, queries.head_dim, head_dim_v, queries.num_rows);
  const int64_t bytes = int64_t{chunks_of(queries.head_dim)} * kTileBytes;
  const int together = queries.num_rows > kMaxFewRows ? kPairRows : kGroupRows;
  for (int row = 0; row < round_up(queries.num_rows, together); row += kGroupRows) {
    const int left = larger(0, queries.num_rows - row);
    const int count = smaller(left, kGroupRows), coming = smaller(left - count, kGroupRows);
    pack_queries(queries.element, queries.keys, queries.rows + row, count, coming, queries.head_dim,
                 scratch.queries + row / kGroupRows * bytes, scratch.query_units + row);
  }
  if (are_whole(queries.keys)) take_parts(queries.num_rows, queries.head_dim, scratch);
}

inline void attend(const AttendTask& task) {
  const FlushSubnormals mode;
  const AmxScratch scratch(task.own, task.head_dim, task.head_dim_v, task.num_rows);
  if (serves_pipeline(task)) return attend_in_pipeline(task, scratch);
  const TileConfig config;
  if (task.num_rows > kMaxFewRows) return attend_many(task, scratch);
  if (serves_codes(task)) return attend_codes(task, scratch);
  if (!task.continues) clear(task);
  attend_few(task, scratch);
}

// Weights of both sides for 16 rows at a time. A maximum of -inf is an empty state, of weight
// exp(-inf - ..) = 0, and the weight of the larger maximum is exp(0) = 1.
inline void merge_rows(State into, State from, int num_rows, int head_dim_v) {
  const FlushSubnormals mode;
  const int64_t floats = int64_t{padded_dim(head_dim_v)} * kGroupRows;
  for (int first = 0; first < num_rows; first += kGroupRows) {
    const F32 m_a = load(into.m + first), m_b = load(from.m + first);
    const F32 m = max(m_a, m_b);
    const F32 shift = select(equal(m, broadcast(kMinusInfinity)), broadcast(0.0f), m);
    const F32 weight_a = exp(m_a - shift), weight_b = exp(m_b - shift);
    store(into.m + first, m);
    store(into.l + first, fma(load(from.l + first), weight_b, load(into.l + first) * weight_a));
    float* a = into.o + first / kGroupRows * floats;
    const float* b = from.o + first / kGroupRows * floats;
    for (int64_t i = 0; i < floats; i += kWidth)
      store(a + i, fma(load(b + i), weight_b, load(a + i) * weight_a));
  }
}

// Sixteen rows of a column, rounded to the nearest bf16, ties to even, in the upper halves of
// words.
// The sum with +0 makes +0 of a -0, whose sign would tell how many hidden keys were added up.
[[gnu::always_inline]] inline __m512i finished_column(F32 o) {
  const __m512i bits = _mm512_castps_si512((o + broadcast(0.0f)).v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
}

// Every NaN becomes the same one, since sign and payload would tell how it arose.
[[gnu::always_inline]] inline F32 one_nan(F32 it) {
  return select(equal(it, it), it, broadcast(__builtin_nanf("")));
}

// Two columns side by side in words, as bf16 or as f16.
template <Element kElement>
[[gnu::always_inline]] inline __m512i finished_pair(F32 a, F32 b) {
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q);
  if (__builtin_expect(nan != 0, false)) {
    a = one_nan(a);
    b = one_nan(b);
  }
  if constexpr (kElement == Element::f16) {
    const auto column = [](F32 x) {
      return _mm512_cvtepu16_epi32(
          _mm512_cvtps_ph((x + broadcast(0.0f)).v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    };
    return _mm512_or_si512(column(a), _mm512_slli_epi32(column(b), 16));
  }
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(finished_column(a), 16),
                                 finished_column(b));
}

// The results of groups to come, of which a line is asked for between columns.
struct ComingRows {
  void* const* rows;
  int count;
  [[gnu::always_inline]] void ask(int i, int first_column) const {
    if (i < count) prefetch_near(static_cast<const char*>(rows[i]) + first_column * 2);
  }
};

// Columns [16 rows] of a chunk from number `first` on become rows of 32 elements.
template <Element kElement>
inline void finish_chunk(const float* o, int first, int head_dim_v, F32 factor,
                         const float* column_scale, ComingRows coming, __m512i (&r)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    const int column = first + 2 * i;
    coming.ask(i, first);
    F32 a = load(o + column * kGroupRows) * factor;
    F32 b = load(o + (column + 1) * kGroupRows) * factor;
    if (column_scale != nullptr && column < head_dim_v) {
      a = a * broadcast(column_scale[column]);
      b = b * broadcast(column_scale[column + 1]);
    }
    r[i] = finished_pair<kElement>(a, b);
  }
  transpose(r);
}

// The same to bf16 by the machine's own conversion, which takes subnormals for 0 and keeps the
// kinds of NaN and of 0 apart. Returns whether the chunk has none of these, so that the bits are
// those of finish_chunk.
inline bool finish_chunk_quickly(const float* o, int first, F32 factor, ComingRows coming,
                                 __m512i (&r)[16]) {
  const __m512i all_but_sign = _mm512_set1_epi16(0x7fff), least = _mm512_set1_epi16(0x80);
  __m512i strangest = _mm512_setzero_si512();
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    const float* column = o + (first + i / 8 * 16 + i % 8) * kGroupRows;
    coming.ask(i, first);
    const F32 a = load(column) * factor, b = load(column + 8 * kGroupRows) * factor;
    r[i] = (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v);
    const __m512i size = _mm512_and_si512(r[i], all_but_sign);
    strangest = _mm512_max_epu16(strangest, _mm512_sub_epi16(size, least));
  }
  const __m512i infinity = _mm512_set1_epi16(0x7f80 - 0x80);
  if (_mm512_cmpgt_epu16_mask(strangest, infinity) != 0) return false;
  turn_columns(r);
  return true;
}

template <Element kElement>
inline void narrow_group_to(const float* o, int32_t count, int32_t head_dim_v, const float* weight,
                            const float* divisor, const float* column_scale, void* const* to,
                            int32_t coming) {
  const F32 factor = load(weight) / load(divisor);
  const ComingRows next{to + count, coming};
  for (int first = 0; first < head_dim_v; first += kChunkDims) {
    __m512i r[16];
    if (kElement != Element::bf16 || column_scale != nullptr ||
        !finish_chunk_quickly(o, first, factor, next, r))
      finish_chunk<kElement>(o, first, head_dim_v, factor, column_scale, next, r);
    const int left = head_dim_v - first;
    const __mmask32 lanes = left >= kChunkDims ? ~0u : (1u << left) - 1;
    for (int i = 0; i < count; ++i)
      _mm512_mask_storeu_epi16(static_cast<char*>(to[i]) + first * 2, lanes, r[i]);
  }
}

// Four columns at distances of two, each with its first four rows.
[[gnu::always_inline]] inline F32 four_columns(const float* o) {
  __m512 it = _mm512_castps128_ps512(_mm_loadu_ps(o));
  it = _mm512_insertf32x4(it, _mm_loadu_ps(o + 2 * kGroupRows), 1);
  it = _mm512_insertf32x4(it, _mm_loadu_ps(o + 4 * kGroupRows), 2);
  return {_mm512_insertf32x4(it, _mm_loadu_ps(o + 6 * kGroupRows), 3)};
}

// The same for up to four rows, of which a vector holds four columns.
template <Element kElement>
inline void narrow_four_to(const float* o, int32_t count, int32_t head_dim_v, const float* weight,
                           const float* divisor, const float* column_scale, void* const* to) {
  const __m512i even = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const F32 factor = {_mm512_broadcast_f32x4(_mm_loadu_ps(weight) / _mm_loadu_ps(divisor))};
  for (int first = 0; first < head_dim_v; first += kChunkDims) {
    __m512i pairs[4], r[4];
    for (int j = 0; j < 4; ++j) {
      const int column = first + 8 * j;
      F32 a = four_columns(o + column * kGroupRows) * factor;
      F32 b = four_columns(o + (column + 1) * kGroupRows) * factor;
      if (column_scale != nullptr && column < head_dim_v) {
        const __m512 scales = _mm512_castps256_ps512(_mm256_loadu_ps(column_scale + column));
        a = a * F32{_mm512_permutexvar_ps(even, scales)};
        b = b * F32{_mm512_permutexvar_ps(odd, scales)};
      }
      pairs[j] = finished_pair<kElement>(a, b);
    }
    transpose_4(pairs, r);
    const int left = head_dim_v - first;
    const __mmask32 lanes = left >= kChunkDims ? ~0u : (1u << left) - 1;
    for (int i = 0; i < count; ++i)
      _mm512_mask_storeu_epi16(static_cast<char*>(to[i]) + first * 2, lanes, r[i]);
  }
}

inline void narrow_group(Element element, const float* o, int32_t count, int32_t head_dim_v,
                         const float* weight, const float* divisor, const float* column_scale,
                         void* const* to, int32_t coming) {
  if (count <= 4) {
    const auto narrow =
        element == Element::f16 ? narrow_four_to<Element::f16> : narrow_four_to<Element::bf16>;
    return narrow(o, count, head_dim_v, weight, divisor, column_scale, to);
  }
  const auto narrow =
      element == Element::f16 ? narrow_group_to<Element::f16> : narrow_group_to<Element::bf16>;
  narrow(o, count, head_dim_v, weight, divisor, column_scale, to, coming);
}

extern const TileKernels kTileKernels;
const TileKernels kTileKernels{.padded_dim = padded_dim,
                               .attend = attend,
                               .scaled_values_unit = 1 << kScaledValuesExponent,
                               .merge_states = merge_rows,
                               .own_bytes = own_bytes,
                               .take_queries = take_queries,
                               .narrow_group = narrow_group};

}  // namespace pagoda::cpu::PAGODA_ISA

// Few rows: keys and values are used as they lie in their pages, each read once for all heads of a
// group and all tokens of a draft.
//
//     S^T [16 keys, 16 rows]  = rows of keys x packed queries
//     O [16 rows, 32 columns] = weights x rows of values
//
// Sixteen rows of values are a second operand as they lie: each word holds two neighbouring columns
// of one key. The first operand then holds a weight in the half of a word whose column is wanted,
// and 0 in the other: twice the products, and no packing.
#pragma once

#include "amx_exact.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Lines of the next tile that are asked for at a time. Changes speed, never results.
constexpr int kLinesBeside = 24;

// Sixteen rows as a tile is loaded from them.
struct TileRows {
  const char* first;
  int64_t stride;
};

// The rows themselves if they stand at equal distances and are whole tiles wide, otherwise a copy.
inline TileRows rows_at(int64_t row_bytes, const char* const* pointers, int dim, char* copy) {
  const char* first = pointers[0];
  if (dim % kChunkDims == 0) {
    const __m512i step = _mm512_set1_epi64(row_bytes);
    const __m512i index = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i low = _mm512_add_epi64(_mm512_set1_epi64(reinterpret_cast<int64_t>(first)),
                                         _mm512_mullo_epi64(step, index));
    const __m512i high = _mm512_add_epi64(low, _mm512_slli_epi64(step, 3));
    if ((_mm512_cmpneq_epi64_mask(low, _mm512_loadu_si512(pointers)) |
         _mm512_cmpneq_epi64_mask(high, _mm512_loadu_si512(pointers + 8))) == 0)
      return {first, row_bytes};
  }
  const int64_t stride = int64_t{chunks_of(dim)} * kTileRowBytes;
  for (int i = 0; i < 16; ++i)
    for (int c = 0; c < chunks_of(dim); ++c)
      _mm512_store_si512(copy + i * stride + c * kTileRowBytes,
                         load_halves(pointers[i], c * kChunkDims, dim));
  return {copy, stride};
}

// Sums of a group's rows, between tiles: [2 x chunks][16 rows][16 columns], even columns of a chunk
// of 32 and then odd ones.
inline float* outputs_of(const AttendTask& task, const AmxScratch& scratch, const Group& group) {
  const int64_t floats = int64_t{chunks_of(task.head_dim_v)} * 2 * kTileBytes / 4;
  return scratch.outputs + group.first / kGroupRows * floats;
}

// Between that order and that of a state, [columns][16 rows].
inline void to_outputs(const Group& group, int head_dim_v, float* outputs) {
  for (int t = 0; t < 2 * chunks_of(head_dim_v); ++t) {
    __m512i r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      r[i] = _mm512_loadu_si512(group.o + (t / 2 * kChunkDims + 2 * i + t % 2) * kGroupRows);
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm512_store_si512(outputs + (t * 16 + i) * 16, r[i]);
  }
}

inline void from_outputs(const float* outputs, int head_dim_v, const Group& group) {
  for (int t = 0; t < 2 * chunks_of(head_dim_v); ++t) {
    __m512i r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(outputs + (t * 16 + i) * 16);
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      _mm512_storeu_si512(group.o + (t / 2 * kChunkDims + 2 * i + t % 2) * kGroupRows, r[i]);
  }
}

inline void rescale_outputs(F32 rescale, int head_dim_v, float* outputs) {
  float factors[kGroupRows];
  store(factors, rescale);
  for (int t = 0; t < 2 * chunks_of(head_dim_v); ++t)
    for (int i = 0; i < 16; ++i) {
      float* at = outputs + (t * 16 + i) * 16;
      store(at, load(at) * broadcast(factors[i]));
    }
}

// Products of the units [0, units) with a group's queries. keys: [4] of 16 rows
inline void multiply_few(const TileRows* keys, const char* queries, int chunks, int units,
                         float* scores, Upcoming& upcoming) {
  for (int unit = 0; unit < units; ++unit) {
    const TileRows a = keys[2 * unit], b = keys[2 * unit + 1];
    clear_tile<0>();
    clear_tile<1>();
    for (int c = 0; c < chunks; ++c) {
      load_tile<2>(queries + c * kTileBytes);
      load_tile<3>(a.first + c * kTileRowBytes, a.stride);
      product<0, 3, 2>();
      load_tile<4>(b.first + c * kTileRowBytes, b.stride);
      product<1, 4, 2>();
      upcoming.advance(kLinesBeside);
    }
    store_tile<0>(scores + unit * kUnitKeys * kGroupRows);
    store_tile<1>(scores + (unit * kUnitKeys + 16) * kGroupRows);
  }
}

// Weights of a unit as first operands: those of its first 16 keys for even columns and for odd
// ones, then those of the others. rounded: [32 keys][16 rows]; weights: [4] tiles
inline void spread_weights(const uint32_t* rounded, char* weights) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int half = 0; half < 2; ++half, weights += 2 * kTileBytes) {
    __m512i r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(rounded + (half * 16 + i) * kGroupRows);
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      _mm512_store_si512(weights + i * kTileRowBytes, _mm512_srli_epi32(r[i], 16));
      _mm512_store_si512(weights + kTileBytes + i * kTileRowBytes, _mm512_and_si512(r[i], upper));
    }
  }
}

// sums = weights x values of a unit. values: [2] of 16 rows; weights: [4] tiles
inline void multiply_values(const TileRows* values, const char* weights, int chunks, float* sums,
                            Upcoming& upcoming) {
  load_tile<4>(weights);
  load_tile<5>(weights + kTileBytes);
  load_tile<6>(weights + 2 * kTileBytes);
  load_tile<7>(weights + 3 * kTileBytes);
  for (int c = 0; c < chunks; ++c, sums += 512) {
    load_tile<2>(values[0].first + c * kTileRowBytes, values[0].stride);
    load_tile<3>(values[1].first + c * kTileRowBytes, values[1].stride);
    clear_tile<0>();
    product<0, 4, 2>();
    clear_tile<1>();
    product<1, 5, 2>();
    product<0, 6, 3>();
    product<1, 7, 3>();
    store_tile<0>(sums);
    store_tile<1>(sums + 256);
    upcoming.advance(kLinesBeside);
  }
}

// The units of a tile that hold what some row sees: 1 or 2, from the first.
inline int units_of(int end) {
  return (end + kUnitKeys - 1) / kUnitKeys;
}

// The words of a tile's rows that belong to the group.
inline void words_of(const Tile& tile, const Group& group, uint64_t (&words)[kGroupRows]) {
  for (int i = 0; i < group.rows; ++i) {
    const int row = group.first + i;
    words[i] = row >= tile.first && row < tile.last ? tile.seen.words[row] : 0;
  }
}

// outputs += sums, of the first `rows` rows, in units of their range. Does nothing and returns
// false if one of the sums is not finite.
inline bool add_sums(const float* sums, int chunks, int rows, F32 range, float* outputs) {
  F32 zero = broadcast(0.0f);
  for (int t = 0; t < 2 * chunks; ++t)
    for (int i = 0; i < rows; ++i)
      zero = fma(load(sums + (t * 16 + i) * 16), broadcast(0.0f), zero);
  if (equal(zero, zero).bits != 0xffff) return false;
  float ranges[kGroupRows];
  store(ranges, range);
  for (int t = 0; t < 2 * chunks; ++t)
    for (int i = 0; i < rows; ++i) {
      float* at = outputs + (t * 16 + i) * 16;
      store(at, fma(load(sums + (t * 16 + i) * 16), broadcast(ranges[i]), load(at)));
    }
  return true;
}

// The same for a unit with values that are not finite. In the half of a word that is not wanted
// such a value meets a weight of 0, so the products are those of packed values.
inline void add_exactly(const AttendTask& task, const AmxScratch& scratch, const Tile& tile,
                        const Group& group, const Seen& seen, int unit, F32 range, float* outputs) {
  const int chunks = chunks_of(task.head_dim_v);
  char* values = scratch.values + int64_t{kTileKeys / 16} * chunks * kTileBytes;
  from_outputs(outputs, task.head_dim_v, group);
  pack_values(tile.values + unit * kUnitKeys, task.head_dim_v, values);
  pair_weights(scratch.rounded, scratch.weights);
  accumulate_exactly(group, seen, unit, values, 2 * chunks, scratch.weights, range);
  to_outputs(group, task.head_dim_v, outputs);
}

// One group of rows and one tile.
inline void attend_few_rows(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                            const Tile& tile, const TileScales& scales, const TileRows* keys,
                            const TileRows* values, const Group& group, Upcoming& upcoming) {
  const int units = units_of(tile.end), chunks_v = chunks_of(task.head_dim_v);
  uint64_t words[kGroupRows];
  words_of(tile, group, words);
  Seen seen;
  see_group(words, group.rows, seen);
  if (seen.any == 0) return;
  multiply_few(keys, queries_of(task, scratch, group.first), chunks_of(task.head_dim), units,
               scratch.scores, upcoming);
  if (!logits.are_products()) make_logits(logits, group, scales, tile.start, units, scratch.scores);
  float* outputs = outputs_of(task, scratch, group);
  for (int i = 0; i < units; ++i) {
    const int unit = task.descends ? units - 1 - i : i, first = unit * kUnitKeys;
    float* scores = scratch.scores + first * kGroupRows;
    hide(seen, first, kUnitKeys, scores);
    const float* value_scales = scales.values != nullptr ? scales.values + first : nullptr;
    const F32 range = range_of(value_scales, seen, first);
    F32 rescale;
    if (weigh(group, logits, value_scales, seen, tile.start, first, range, scores,
              WeightsInWords{scratch.rounded}, rescale, [&] { upcoming.advance(kLinesBeside); }))
      rescale_outputs(rescale, task.head_dim_v, outputs);
    spread_weights(scratch.rounded, scratch.weights);
    multiply_values(values + 2 * unit, scratch.weights, chunks_v, scratch.sums, upcoming);
    if (!add_sums(scratch.sums, chunks_v, group.rows, range, outputs))
      add_exactly(task, scratch, tile, group, seen, unit, range, outputs);
  }
}

inline void attend_few_tile(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                            Tile& tile, const Tile* next) {
  float key_scales[kTileKeys], value_scales[kTileKeys];
  const TileScales scales{gather(task.keys, tile.key_scales, key_scales),
                          gather(task.values, tile.value_scales, value_scales)};
  const int64_t key_bytes = int64_t{chunks_of(task.head_dim)} * kTileBytes;
  const int64_t value_bytes = int64_t{chunks_of(task.head_dim_v)} * kTileBytes;
  make_halves(task, scratch, units_of(tile.end), tile);
  const int64_t key_stride =
      is_code(task.key_element) ? converted_bytes(task.head_dim) : task.keys.token_stride;
  const int64_t value_stride =
      is_code(task.value_element) ? converted_bytes(task.head_dim_v) : task.values.token_stride;
  TileRows keys[kTileKeys / 16], values[kTileKeys / 16];
  for (int i = 0; i < 2 * units_of(tile.end); ++i) {
    keys[i] = rows_at(key_stride, tile.keys + 16 * i, task.head_dim, scratch.keys + i * key_bytes);
    values[i] = rows_at(value_stride, tile.values + 16 * i, task.head_dim_v,
                        scratch.values + i * value_bytes);
  }
  Upcoming upcoming(task, next);
  for (int row = tile.first / kGroupRows * kGroupRows; row < tile.last; row += kGroupRows)
    attend_few_rows(task, logits, scratch, tile, scales, keys, values, group_of(task, row),
                    upcoming);
  upcoming.finish();
}

inline void attend_few(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task, scratch.query_units);
  for (int row = 0; row < task.num_rows; row += kGroupRows) {
    const Group group = group_of(task, row);
    to_outputs(group, task.head_dim_v, outputs_of(task, scratch, group));
  }
  const auto work = [&](Tile& tile, const Tile* next) {
    attend_few_tile(task, logits, scratch, tile, next);
  };
  task.descends ? each_tile<true>(task, work) : each_tile<false>(task, work);
  for (int row = 0; row < task.num_rows; row += kGroupRows) {
    const Group group = group_of(task, row);
    from_outputs(outputs_of(task, scratch, group), task.head_dim_v, group);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

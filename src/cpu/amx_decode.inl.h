// Up to 16 rows, the heads of a group times the query tokens of a decode step, with nothing but
// scales between products and weights. Keys and values are used as they lie, 32 keys at a time:
//
//     S^T [16 keys, rows]        = rows of keys x packed queries
//     sums [2 x rows, 16 words]  = weights x rows of values, of even columns and of odd ones
//     O                         += sums
//
// A word of a row of values holds two neighbouring columns. A weight in the lower half of a word
// multiplies the even one, in the upper half the odd one; both kinds of rows of weights stand in
// one tile, since a product takes as long for 4 rows as for 16.
//
// What is computed is that of amx_softmax.inl.h, number by number. The units go through a pipeline,
// so that no step waits for the one before: while the keys of a unit are multiplied, the weights of
// the one before are on their way into a tile, and the sums of the one before that are added.
#pragma once

#include "amx_few.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Asks for rows of a later unit, a few at a time beside all of the work on another.
class NextRows {
 public:
  // keys, values: [32] rows, or null
  NextRows(const AttendTask& task, const char* const* keys, const char* const* values)
      : row_(keys != nullptr ? keys : values),
        end_(row_ + kUnitKeys),
        values_(keys != nullptr ? values : nullptr),
        bytes_(keys != nullptr ? row_bytes(task.key_element, task.head_dim)
                               : row_bytes(task.value_element, task.head_dim_v)),
        value_bytes_(row_bytes(task.value_element, task.head_dim_v)) {}

  [[gnu::always_inline]] void advance(int rows) {
    for (int i = 0; i < rows && row_ != nullptr; ++i) {
      for (int at = 0; at < bytes_; at += 64) prefetch_near(*row_ + at);
      if (++row_ != end_) continue;
      row_ = values_;
      end_ = values_ + kUnitKeys;
      bytes_ = value_bytes_;
      values_ = nullptr;
    }
  }

 private:
  const char* const* row_;
  const char* const* end_;
  const char* const* values_;
  int bytes_, value_bytes_;
};

// A unit on its way. The lines of its own weights and seen keys outlive its products, since a sum
// that is not finite is found only later.
struct FewUnit {
  TileRows keys[2], values[2];        // of sixteen rows each
  const char* value_rows[kUnitKeys];  // as bf16
  bool whole;                         // every row sees every key
  alignas(64) uint32_t words[kGroupRows];  // keys that a row sees, unless whole
  const float *key_scales, *value_scales;  // [32] or null
};

// kRows: 4, 8 or 16 columns of the products of queries and keys
template <int kRows>
class FewRows {
 public:
  FewRows(const AttendTask& task, const Logits& logits, const AmxScratch& scratch)
      : task_(task),
        logits_(logits),
        scratch_(scratch),
        group_(group_of(task, 0)),
        chunks_(chunks_of(task.head_dim)),
        chunks_v_(chunks_of(task.head_dim_v)),
        logit_scale_(scale_of_rows(task)) {}

  void run() {
    configure();
    begin();
    each_tile(task_, [&](Tile& tile, const Tile* next) { attend(tile, next); });
    drain();
    end();
  }

 private:
  static constexpr int kKeys = kWidth / kRows;                  // of a vector of scores
  static constexpr int kVectors = kUnitKeys / kKeys;            // of scores of a unit
  static constexpr int kHalf = kVectors / 2;                    // of them, of sixteen keys
  static constexpr int kParts = kKeys >= 4 ? 1 : 4 / kKeys;     // of a sum of weights
  static constexpr bool kStacked = kRows <= 8;                  // even columns above odd ones
  static constexpr int kWeightTiles = kStacked ? 2 : 4;         // of a unit
  static constexpr int kColumnRows = 2 * kRows;                 // of outputs of 32 columns
  static constexpr int kRing = 4;

  // Tiles 0 and 1 are scores, 2 queries, 3 and 4 keys or values, 5 sums, 6 and 7 weights; with 16
  // rows all have one shape, and products of values use them anew.
  static void configure() {
    if (!kStacked) return configure_full_tiles();
    TileLayout layout;
    for (int tile = 0; tile < 3; ++tile) layout.set(tile, kTileRows, kRows * 4);
    for (int tile = 3; tile < 5; ++tile) layout.set(tile, kTileRows, kTileRowBytes);
    for (int tile = 5; tile < 8; ++tile) layout.set(tile, 2 * kRows, kTileRowBytes);
    configure_tiles(layout);
  }

  // The same of a row in the lanes of all its keys.
  static F32 repeat_rows(const float* rows) {
    if (kRows == 4) return {_mm512_broadcast_f32x4(_mm_loadu_ps(rows))};
    if (kRows == 8) return {_mm512_broadcast_f32x8(_mm256_loadu_ps(rows))};
    return load(rows);
  }

  static F32 scale_of_rows(const AttendTask& task) {
    float rows[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r)
      rows[r] = task.query_scale != nullptr ? task.query_scale[r < task.num_rows ? r : 0] : 1.0f;
    return broadcast(task.scale) * repeat_rows(rows);
  }

  // Scales of the keys of vector `index`, each in the lanes of its rows.
  [[gnu::always_inline]] static F32 scales_of_keys(const float* scales, int index) {
    scales += index * kKeys;
    if (kRows == 16) return broadcast(*scales);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i key = _mm512_srli_epi32(lane, kRows == 4 ? 2 : 3);
    return {_mm512_permutexvar_ps(key, _mm512_broadcast_f32x4(_mm_loadu_ps(scales)))};
  }

  float* outputs() const { return scratch_.outputs; }  // [chunks][2 parities][kRows][16]
  int num_outputs() const { return chunks_v_ * kColumnRows; }

  // Where row r of a state has its column for output `at`, vector of outputs of sixteen columns.
  template <class Body>
  void each_square(const Body& body) const {
    for (int c = 0; c < chunks_v_; ++c)
      for (int odd = 0; odd < 2; ++odd)
        for (int n = 0; n < kWidth; n += 4)
          for (int r = 0; r < kRows; r += 4)
            body(group_.o + int64_t{c * kChunkDims + 2 * n + odd} * kGroupRows + r,
                 outputs() + ((c * 2 + odd) * kRows + r) * kWidth + n);
  }

  void begin() {
    if (!task_.continues) {
      m_ = broadcast(kMinusInfinity);
      l_ = broadcast(0.0f);
      for (int i = 0; i < num_outputs(); ++i) store(outputs() + i * kWidth, broadcast(0.0f));
      return;
    }
    m_ = repeat_rows(group_.m);
    l_ = repeat_rows(group_.l);
    take_outputs();
  }
  void take_outputs() const {
    if constexpr (kRows == 16) return to_outputs(group_, task_.head_dim_v, outputs());
    each_square([](float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(columns + i * 2 * kGroupRows);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(rows + i * kWidth, r[i]);
    });
  }
  void give_outputs() const {
    if constexpr (kRows == 16) return from_outputs(outputs(), task_.head_dim_v, group_);
    each_square([](float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(rows + i * kWidth);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(columns + i * 2 * kGroupRows, r[i]);
    });
  }
  void end() const {
    store(group_.m, m_);
    store(group_.l, l_);
    give_outputs();
  }

  // What a unit of the tile sees and reads.
  void attend(Tile& tile, const Tile* next) {
    const bool whole = tile.seen.any == ~uint64_t{0} && tile.seen.is_uniform() &&
                       tile.first == 0 && tile.last == task_.num_rows;
    scales_index_ = 1 - scales_index_;
    const TileScales scales{gather(task_.keys, tile.key_scales, key_scales_[scales_index_]),
                            gather(task_.values, tile.value_scales, value_scales_[scales_index_])};
    const int units = units_of(tile.end);
    for (int i = 0; i < units; ++i) {
      const int first = i * kUnitKeys;
      const Tile* after = i + 1 < units ? &tile : next;
      const int after_first = i + 1 < units ? first + kUnitKeys : 0;
      NextRows lines(task_, after != nullptr ? after->keys + after_first : nullptr,
                     after != nullptr ? after->values + after_first : nullptr);
      FewUnit& unit = unit_at(0);
      unit.whole = whole;
      if (!whole) see_unit(tile, first, unit);
      unit.key_scales = scales.keys != nullptr ? scales.keys + first : nullptr;
      unit.value_scales = scales.values != nullptr ? scales.values + first : nullptr;
      step(unit, tile.keys + first, tile.values + first, lines);
    }
  }

  void see_unit(const Tile& tile, int first, FewUnit& unit) const {
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = r < task_.num_rows ? r : 0;
      const bool sees = row >= tile.first && row < tile.last;
      unit.words[r] = sees ? static_cast<uint32_t>(tile.seen.words[row] >> first) : 0;
    }
  }

  FewUnit& unit_at(int back) { return units_[(count_ - back) & (kRing - 1)]; }

  // A unit enters; those before it go on.
  void step(FewUnit& unit, const char** keys, const char** values, NextRows& lines) {
    place(task_.key_element, task_.keys.token_stride, task_.head_dim, keys,
          scratch_.converted_keys, scratch_.keys, unit.keys, lines);
    if (count_ > 0) weigh(unit_at(1), lines);
    multiply_keys(unit, lines);
    settle();
    if (count_ > 0) multiply_values(unit_at(1), lines);
    const int64_t slot = count_ & 1;
    place(task_.value_element, task_.values.token_stride, task_.head_dim_v, values,
          scratch_.converted_values + slot * kUnitKeys * converted_bytes(task_.head_dim_v),
          scratch_.values + slot * 2 * chunks_v_ * kTileBytes, unit.values, lines);
    for (int i = 0; i < kUnitKeys; i += 8)
      _mm512_storeu_si512(unit.value_rows + i, _mm512_loadu_si512(values + i));
    ++count_;
  }
  void drain() {
    NextRows none(task_, nullptr, nullptr);
    if (count_ == 0) return;
    weigh(unit_at(1), none);
    settle();
    multiply_values(unit_at(1), none);
    ++count_;
    settle();
  }

  // Makes bf16 of a unit's rows and finds out how tiles are loaded from them. rows: [32]
  static void place(Element element, int64_t token_stride, int dim, const char** rows,
                    char* converted, char* copy, TileRows (&to)[2], NextRows& lines) {
    make_bf16(element, rows, kUnitKeys, dim, converted, [&] { lines.advance(1); });
    const int64_t stride = is_code(element) ? converted_bytes(dim) : token_stride;
    to[0] = rows_at(stride, rows, dim, copy);
    to[1] = rows_at(stride, rows + 16, dim, copy + chunks_of(dim) * kTileBytes);
  }

  void multiply_keys(const FewUnit& unit, NextRows& lines) const {
    const TileRows a = unit.keys[0], b = unit.keys[1];
    clear_tile<0>();
    clear_tile<1>();
    for (int c = 0; c < chunks_; ++c) {
      load_tile<2>(scratch_.queries + c * kTileBytes);
      load_tile<3>(a.first + c * kTileRowBytes, a.stride);
      product_bf16<0, 3, 2>();
      lines.advance(3);
      load_tile<4>(b.first + c * kTileRowBytes, b.stride);
      product_bf16<1, 4, 2>();
      lines.advance(3);
    }
    store_tile<0>(scratch_.scores, kRows * 4);
    store_tile<1>(scratch_.scores + 16 * kRows, kRows * 4);
  }

  float* weights_of(const FewUnit& unit) const {
    return reinterpret_cast<float*>(scratch_.weights) +
           (&unit - units_) % 2 * (kWeightTiles * kTileBytes / 4);
  }

  struct Scores {
    F32 s[kVectors];

    F32 largest() const {
      F32 most = s[0];
      for (int i = 1; i < kVectors; ++i) most = max(s[i], most);
      return over_keys(most, [](F32 a, F32 b) { return max(a, b); });
    }
  };

  // The same of every key in all lanes of a row, by a commutative operation.
  template <class Operation>
  [[gnu::always_inline]] static F32 over_keys(F32 x, const Operation& operation) {
    if (kKeys >= 4) x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0xb1)});
    if (kKeys >= 2) x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0x4e)});
    return x;
  }

  [[gnu::always_inline]] static Lanes seen_in(__m512i words, int index) {
    return {_mm512_test_epi32_mask(words, _mm512_set1_epi32(static_cast<int>(1u << index * kKeys)))};
  }

  // Lane key x kRows + row has the row's word from that key on.
  static __m512i words_of_lanes(const FewUnit& unit) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i words = _mm512_permutexvar_epi32(
        _mm512_and_si512(lane, _mm512_set1_epi32(kRows - 1)), _mm512_load_si512(unit.words));
    return _mm512_srlv_epi32(words, _mm512_srli_epi32(lane, kRows == 4 ? 2 : kRows == 8 ? 3 : 4));
  }

  // The softmax of a unit.
  void weigh(const FewUnit& unit, NextRows& lines) {
    if (unit.whole && logits_.plain) return weigh<true>(unit, lines);
    weigh<false>(unit, lines);
  }

  template <bool kPlain>
  [[gnu::always_inline]] void weigh(const FewUnit& unit, NextRows& lines) {
    Scores it;
    __m512i words = _mm512_set1_epi32(-1);
    if (!kPlain && !unit.whole) words = words_of_lanes(unit);
#pragma GCC unroll 32
    for (int i = 0; i < kVectors; ++i) {
      it.s[i] = load(scratch_.scores + i * kWidth);
      if (kPlain) continue;
      if (!logits_.plain) {
        if (unit.key_scales != nullptr) it.s[i] = it.s[i] * scales_of_keys(unit.key_scales, i);
        it.s[i] = it.s[i] * logit_scale_;
      }
      it.s[i] = select(seen_in(words, i), it.s[i], broadcast(kMinusInfinity));
    }
    const F32 lowest = broadcast(kMinusInfinity), scale = broadcast(logits_.logit_scale());
    if (const Lanes fresh = equal(m_, lowest); __builtin_expect(fresh.bits != 0, false))
      m_ = select(fresh, it.largest() * scale, m_);
    F32 sum = make_weights<kPlain>(unit, it, words, lines);
    const Lanes rising = less(broadcast(kMostSum), sum);
    if (__builtin_expect(rising.bits != 0, false)) {
      raise(rising, it.largest() * scale);
      sum = make_weights<kPlain>(unit, it, words, lines);
    }
    l_ = l_ + sum;
  }

  template <bool kPlain>
  [[gnu::always_inline]] F32 make_weights(const FewUnit& unit, const Scores& it, __m512i words,
                                          NextRows& lines) const {
    const F32 scale = broadcast(logits_.exponent_scale());
    const F32 shift =
        select(equal(m_, broadcast(kMinusInfinity)), broadcast(0.0f), m_ * broadcast(kLog2E));
    F32 part[kParts];
    for (F32& sum : part) sum = broadcast(0.0f);
    __m512i p[kVectors];
    const auto one = [&](int i) __attribute__((always_inline)) {
      F32 x = exp2(fms(it.s[i], scale, shift));
      part[i % kHalf % kParts] = part[i % kHalf % kParts] + x;
      if (!kPlain && unit.value_scales != nullptr)
        x = select(seen_in(words, i), x * scales_of_keys(unit.value_scales, i), broadcast(0.0f));
      p[i] = rounded(x).v;
    };
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
      one(i);
      one(kHalf + i);
      lines.advance(16 / kHalf);
    }
    char* to = reinterpret_cast<char*>(weights_of(unit));
    store_weights(p, to);
    store_weights(p + kHalf, to + (kStacked ? 1 : 2) * kTileBytes);
    if constexpr (kParts == 4) return (part[0] + part[1]) + (part[2] + part[3]);
    const auto add = [](F32 a, F32 b) { return a + b; };
    F32 sum = over_keys(part[0], add);
    if constexpr (kParts == 2) sum = sum + over_keys(part[1], add);
    return sum;
  }

  void raise(Lanes rising, F32 here) {
    settle();
    const Lanes both{static_cast<__mmask16>(rising.bits & less(m_, here).bits)};
    const F32 before = m_, log2e = broadcast(kLog2E);
    m_ = select(both, here, before);
    const F32 rescale = select(both, exp2(before * log2e - m_ * log2e), broadcast(1.0f));
    l_ = l_ * rescale;
    float factors[kWidth];
    store(factors, rescale);
    for (int i = 0; i < num_outputs(); ++i)
      store(outputs() + i * kWidth,
            load(outputs() + i * kWidth) * broadcast(factors[i & (kRows - 1)]));
  }

  // Weights of sixteen keys, [16 / kKeys] vectors of [kKeys][kRows], as rows of sixteen keys: for
  // even columns, then for odd ones.
  [[gnu::always_inline]] static void store_weights(const __m512i* p, char* to) {
    __m512i r[kRows];
    if constexpr (kRows == 16) {
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) r[i] = p[i];
      transpose(r);
    } else if constexpr (kRows == 8) {
      transpose_8(p, r);
    } else {
      transpose_4(p, r);
    }
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      _mm512_store_si512(to + i * kTileRowBytes, _mm512_srli_epi32(r[i], 16));
      _mm512_store_si512(to + (kRows + i) * kTileRowBytes, _mm512_and_si512(r[i], upper));
    }
  }

  [[gnu::always_inline]] static void transpose_4(const __m512i* p, __m512i* r) {
    const __m512i by_row = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i c[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) c[i] = _mm512_permutexvar_epi32(by_row, p[i]);
    const __m512i a = _mm512_shuffle_i32x4(c[0], c[1], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(c[0], c[1], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(c[2], c[3], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(c[2], c[3], 0xdd);
    r[0] = _mm512_shuffle_i32x4(a, d, 0x88);
    r[1] = _mm512_shuffle_i32x4(b, e, 0x88);
    r[2] = _mm512_shuffle_i32x4(a, d, 0xdd);
    r[3] = _mm512_shuffle_i32x4(b, e, 0xdd);
  }

  // Eight vectors of two keys and eight rows.
  [[gnu::always_inline]] static void transpose_8(const __m512i* p, __m512i* r) {
    const __m512i by_row = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    __m512i c[8], t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) c[i] = _mm512_permutexvar_epi32(by_row, p[i]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      t[2 * i] = _mm512_unpacklo_epi64(c[2 * i], c[2 * i + 1]);      // rows 0, 2, 4, 6
      t[2 * i + 1] = _mm512_unpackhi_epi64(c[2 * i], c[2 * i + 1]);  // rows 1, 3, 5, 7
    }
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
      const __m512i a = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0x88);
      const __m512i b = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0xdd);
      const __m512i d = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0x88);
      const __m512i e = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0xdd);
      r[odd] = _mm512_shuffle_i32x4(a, d, 0x88);
      r[2 + odd] = _mm512_shuffle_i32x4(b, e, 0x88);
      r[4 + odd] = _mm512_shuffle_i32x4(a, d, 0xdd);
      r[6 + odd] = _mm512_shuffle_i32x4(b, e, 0xdd);
    }
  }

  void multiply_values(const FewUnit& unit, NextRows& lines) {
    const TileRows a = unit.values[0], b = unit.values[1];
    const char* weights = reinterpret_cast<const char*>(weights_of(unit));
    float* sums = scratch_.sums;
    if constexpr (kStacked) {
      load_tile<6>(weights);
      load_tile<7>(weights + kTileBytes);
      for (int c = 0; c < chunks_v_; ++c, sums += kColumnRows * kWidth) {
        clear_tile<5>();
        load_tile<3>(a.first + c * kTileRowBytes, a.stride);
        product_bf16<5, 6, 3>();
        lines.advance(3);
        load_tile<4>(b.first + c * kTileRowBytes, b.stride);
        product_bf16<5, 7, 4>();
        lines.advance(3);
        store_tile<5>(sums);
      }
    } else {
      load_tile<4>(weights);
      load_tile<5>(weights + kTileBytes);
      load_tile<6>(weights + 2 * kTileBytes);
      load_tile<7>(weights + 3 * kTileBytes);
      for (int c = 0; c < chunks_v_; ++c, sums += kColumnRows * kWidth) {
        load_tile<2>(a.first + c * kTileRowBytes, a.stride);
        clear_tile<0>();
        product_bf16<0, 4, 2>();
        clear_tile<1>();
        product_bf16<1, 5, 2>();
        lines.advance(3);
        load_tile<3>(b.first + c * kTileRowBytes, b.stride);
        product_bf16<0, 6, 3>();
        product_bf16<1, 7, 3>();
        lines.advance(3);
        store_tile<0>(sums);
        store_tile<1>(sums + kRows * kWidth);
      }
    }
    pending_ = &unit;
  }

  // Adds the sums of the last products, if that is not done.
  void settle() {
    if (pending_ == nullptr) return;
    const FewUnit& unit = *pending_;
    pending_ = nullptr;
    F32 zero[2] = {broadcast(0.0f), broadcast(0.0f)};
    for (int i = 0; i < num_outputs(); i += 2) {
      zero[0] = fma(load(scratch_.sums + i * kWidth), broadcast(0.0f), zero[0]);
      zero[1] = fma(load(scratch_.sums + (i + 1) * kWidth), broadcast(0.0f), zero[1]);
    }
    const F32 all = zero[0] + zero[1];
    if (__builtin_expect(equal(all, all).bits != 0xffff, false)) return add_exactly(unit);
    for (int i = 0; i < num_outputs(); ++i)
      store(outputs() + i * kWidth,
            load(outputs() + i * kWidth) + load(scratch_.sums + i * kWidth));
  }

  [[gnu::noinline]] void add_exactly(const FewUnit&) {}

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const Group group_;
  const int chunks_, chunks_v_;
  const F32 logit_scale_;
  F32 m_, l_;

  uint32_t count_ = 0;                  // units that have entered
  const FewUnit* pending_ = nullptr;    // whose sums wait
  FewUnit units_[kRing];
  int scales_index_ = 0;
  float key_scales_[2][kTileKeys], value_scales_[2][kTileKeys];  // of this tile and the one before
};

inline void attend_decode(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task);
  if (task.num_rows <= 4) return FewRows<4>(task, logits, scratch).run();
  if (task.num_rows <= 8) return FewRows<8>(task, logits, scratch).run();
  FewRows<16>(task, logits, scratch).run();
}

inline bool is_decode(const AttendTask& task) {
  return task.num_rows <= kGroupRows && task.softcap == 0 && task.bias == Bias::none &&
         task.score.apply == nullptr;
}

}  // namespace pagoda::cpu::PAGODA_ISA

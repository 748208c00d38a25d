// Decode of up to four heads of a group, the common case of few rows: tiles of keys that the rows
// see whole, with nothing but scales. The rows are the columns of small tiles, so that a vector
// holds the scores of four keys and no lane is idle:
//
//     S^T [16 keys, 4 rows]      = rows of keys x packed queries
//     O   [4 rows, 16 columns]  += weights x pairs of rows of values
//
// Values are paired on the way from memory, codes while they are converted. What is computed is
// that of amx_softmax.inl.h, number by number; other tiles go the way of amx_few.inl.h.
#pragma once

#include "amx_few.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kSmallRows = 4;
constexpr int kUnitVectors = kUnitKeys * kSmallRows / kWidth;  // of scores; lane 4 k + r is row r

// Values of the keys j and 16 + j of a unit, alternating: the tiles of a second operand, columns
// 8 q + w of 32 in the first and 8 q + 4 + w in the second, where 4 q + w is the tile's column.
inline int column_of(int tile, int first) {
  return tile / 2 * kChunkDims + tile % 2 * 4 + first * 2;  // of its columns [first, first + 4)
}

inline void store_pair(__m512i a, __m512i b, char* to) {
  _mm512_store_si512(to, _mm512_unpacklo_epi16(a, b));
  _mm512_store_si512(to + kTileBytes, _mm512_unpackhi_epi16(a, b));
}

// Asks for the lines of the next unit a few at a time, beside all of the work on this one.
class NextLines {
 public:
  // keys, values: [32] rows, or null
  NextLines(const AttendTask& task, const char* const* keys, const char* const* values)
      : row_(keys),
        end_(keys + kUnitKeys),
        values_(values),
        bytes_(row_bytes(task.key_element, task.head_dim)),
        value_bytes_(row_bytes(task.value_element, task.head_dim_v)) {}

  [[gnu::always_inline]] void advance(int lines) {
    for (int i = 0; i < lines && row_ != nullptr; ++i) {
      prefetch_near(*row_ + at_);
      at_ += 64;
      if (at_ < bytes_) continue;
      at_ = 0;
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
  int at_ = 0, bytes_, value_bytes_;
};

// rows: [32] of a unit; to: [2 x chunks] tiles
inline void pair_rows(const char* const* rows, int dim, NextLines& next, char* to) {
  for (int j = 0; j < 16; ++j) {
    for (int c = 0; c < chunks_of(dim); ++c) {
      const int64_t at = int64_t{c} * kTileRowBytes;
      store_pair(_mm512_loadu_si512(rows[j] + at), _mm512_loadu_si512(rows[16 + j] + at),
                 to + 2 * c * kTileBytes + j * kTileRowBytes);
    }
    next.advance(8);
  }
}

template <class Convert>
inline void pair_codes(const char* const* rows, int dim, NextLines& next, char* to) {
  for (int j = 0; j < 16; ++j) {
    for (int d = 0; d < dim; d += 64) {
      const char *a = rows[j] + d, *b = rows[16 + j] + d;
      const bool plain =
          are_plain<Convert>(_mm512_max_epu8(Convert::strangeness(a), Convert::strangeness(b)));
      char* at = to + d / kChunkDims * 2 * kTileBytes + j * kTileRowBytes;
      for (int half = 0; half < 64; half += 32, at += 2 * kTileBytes)
        store_pair(plain ? Convert::plain(a + half) : Convert::any(a + half),
                   plain ? Convert::plain(b + half) : Convert::any(b + half), at);
    }
    next.advance(2);
  }
}

inline void pair_values(Element element, const char* const* rows, int dim, NextLines& next,
                        char* to) {
  if (element == Element::int8) return pair_codes<Int8ToHalves>(rows, dim, next, to);
  if (element == Element::e4m3) return pair_codes<E4m3ToHalves>(rows, dim, next, to);
  pair_rows(rows, dim, next, to);
}

// Tiles 0 and 1 are scores, 2 queries, 3 and 4 keys or values, 5 and 6 outputs, 7 weights.
inline void configure_small_tiles() {
  TileLayout layout;
  for (int tile = 0; tile < 3; ++tile) layout.set(tile, kTileRows, kSmallRows * 4);
  for (int tile = 3; tile < 5; ++tile) layout.set(tile, kTileRows, kTileRowBytes);
  for (int tile = 5; tile < 8; ++tile) layout.set(tile, kSmallRows, kTileRowBytes);
  configure_tiles(layout);
}

// The same of every key in all lanes of a row, by a commutative operation.
template <class Operation>
[[gnu::always_inline]] inline F32 over_keys(F32 x, const Operation& operation) {
  x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0xb1)});
  return operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0x4e)});
}

// Scales of keys 4 i .. 4 i + 3, each in the lanes of its rows.
[[gnu::always_inline]] inline F32 scales_of_keys(const float* scales) {
  const __m512i key = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return {_mm512_permutexvar_ps(key, _mm512_broadcast_f32x4(_mm_loadu_ps(scales)))};
}

// The first four rows' numbers for each of four keys.
[[gnu::always_inline]] inline F32 repeat_rows(F32 rows) {
  return {_mm512_broadcast_f32x4(_mm512_castps512_ps128(rows.v))};
}
[[gnu::always_inline]] inline F32 repeat_rows(const float* rows) {
  return {_mm512_broadcast_f32x4(_mm_loadu_ps(rows))};
}

class SmallGroup {
 public:
  // The group's state is elsewhere until enter().
  SmallGroup(const AttendTask& task, const Logits& logits, const AmxScratch& scratch)
      : task_(task),
        logits_(logits),
        scratch_(scratch),
        group_(group_of(task, 0)),
        tiles_v_(2 * chunks_of(task.head_dim_v)),
        logit_scale_(scale_of_rows(task, logits)) {}

  static bool serves(const AttendTask& task) {
    const auto fits = [](Element element, int dim) {
      return dim % (is_code(element) ? 64 : 32) == 0;
    };
    return task.num_rows <= kSmallRows && task.softcap == 0 && task.bias == Bias::none &&
           task.score.apply == nullptr && fits(task.key_element, task.head_dim) &&
           fits(task.value_element, task.head_dim_v);
  }
  static bool sees_whole(const AttendTask& task, const Tile& tile) {
    return tile.seen.any == ~uint64_t{0} && tile.seen.is_uniform() && tile.first == 0 &&
           tile.last == task.num_rows;
  }

  void enter() {
    configure_small_tiles();
    m_ = repeat_rows(group_.m);
    l_ = repeat_rows(group_.l);
    each_square([](float* columns, float* rows) { turn(columns, kGroupRows, rows, kWidth); });
  }
  void leave() {
    NextLines none(task_, nullptr, nullptr);
    finish_unit(none);
    configure_full_tiles();
    _mm_storeu_ps(group_.m, _mm512_castps512_ps128(m_.v));
    _mm_storeu_ps(group_.l, _mm512_castps512_ps128(l_.v));
    each_square([](float* columns, float* rows) { turn(rows, kWidth, columns, kGroupRows); });
  }

  // Weights and values of a unit are taken up only when the keys of the next one are converted:
  // what was just stored cannot be loaded into a tile at once.
  void attend(Tile& tile, const Tile* next) {
    const char* const* next_keys = next != nullptr ? next->keys : nullptr;
    const char* const* next_values = next != nullptr ? next->values : nullptr;
    scales_index_ = 1 - scales_index_;
    const TileScales scales{gather(task_.keys, tile.key_scales, key_scales_[scales_index_]),
                            gather(task_.values, tile.value_scales, value_scales_[scales_index_])};
    for (int unit = 0; unit < kUnits; ++unit) {
      const int first = unit * kUnitKeys;
      const bool last = unit == kUnits - 1;
      NextLines lines(task_, last ? next_keys : tile.keys + first + kUnitKeys,
                      last ? next_values : tile.values + first + kUnitKeys);
      make_halves(task_.key_element, tile.keys + first, kUnitKeys, task_.head_dim,
                  scratch_.converted_keys, [&] { lines.advance(1); });
      finish_unit(lines);
      multiply_keys(tile.keys + first, lines);
      pair_values(task_.value_element, tile.values + first, task_.head_dim_v, lines,
                  scratch_.values);
      open_ = true;
      open_scales_ = {scales.keys != nullptr ? scales.keys + first : nullptr,
                      scales.values != nullptr ? scales.values + first : nullptr};
    }
  }

 private:
  // What a product is multiplied by to be a logit, where Logits has no single number for it.
  static F32 scale_of_rows(const AttendTask& task, const Logits& logits) {
    float rows[kSmallRows];
    for (int r = 0; r < kSmallRows; ++r)
      rows[r] = task.query_scale != nullptr ? task.query_scale[r < task.num_rows ? r : 0] : 1.0f;
    return repeat_rows(logits.with_units(task.scale, 0)) * repeat_rows(rows);
  }

  // Four columns of four rows from one order into the other.
  static void turn(const float* from, int from_stride, float* to, int to_stride) {
    __m128 r[4];
    for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(from + i * from_stride);
    _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
    for (int i = 0; i < 4; ++i) _mm_storeu_ps(to + i * to_stride, r[i]);
  }

  // body(columns, rows) for every four columns: where they stand in a state, [column][16 rows], and
  // in this group's outputs, [2 x chunks][4 rows][16 columns].
  template <class Body>
  void each_square(const Body& body) {
    for (int t = 0; t < tiles_v_; ++t)
      for (int n = 0; n < kWidth; n += 4)
        body(group_.o + int64_t{column_of(t, n)} * kGroupRows, outputs(t) + n);
  }

  float* outputs(int tile) const { return scratch_.sums + tile * kSmallRows * kWidth; }

  // rows: [32] of a unit
  void multiply_keys(const char* const* rows, NextLines& lines) const {
    const int64_t key_bytes = int64_t{chunks_of(task_.head_dim)} * kTileBytes;
    const int64_t stride =
        is_code(task_.key_element) ? converted_bytes(task_.head_dim) : task_.keys.token_stride;
    const TileRows a = rows_at(stride, rows, task_.head_dim, scratch_.keys);
    const TileRows b = rows_at(stride, rows + 16, task_.head_dim, scratch_.keys + key_bytes);
    clear_tile<0>();
    clear_tile<1>();
    for (int c = 0; c < chunks_of(task_.head_dim); ++c) {
      load_tile<2>(scratch_.queries + c * kTileBytes);
      load_tile<3>(a.first + c * kTileRowBytes, a.stride);
      product<0, 3, 2>();
      load_tile<4>(b.first + c * kTileRowBytes, b.stride);
      product<1, 4, 2>();
      lines.advance(8);
    }
    store_tile<0>(scratch_.scores, kSmallRows * 4);
    store_tile<1>(scratch_.scores + 16 * kSmallRows, kSmallRows * 4);
  }

  struct Unit {
    F32 s[kUnitVectors];
    __m512i p[kUnitVectors];  // weights, rounded in the upper halves of words

    F32 largest() const {
      F32 most = s[0];
      for (int i = 1; i < kUnitVectors; ++i) most = max(s[i], most);
      return over_keys(most, [](F32 a, F32 b) { return max(a, b); });
    }
  };

  void finish_unit(NextLines& lines) {
    if (!open_) return;
    open_ = false;
    const F32 range = range_of_unit(open_scales_.values);
    weigh(open_scales_.keys, open_scales_.values, inverse_of_power(range));
    if (kIsNarrow && open_scales_.values != nullptr) return add_values_in_range(range, lines);
    add_values(lines);
  }

  // range_of, for rows that see all keys. value_scales: [32] or null
  static F32 range_of_unit(const float* value_scales) {
    if (!kIsNarrow || value_scales == nullptr) return broadcast(1.0f);
    const __m512i low = size_bits(_mm512_loadu_si512(value_scales));
    const __m512i high = size_bits(_mm512_loadu_si512(value_scales + kWidth));
    const __m512i most = _mm512_max_epu32(low, high);
    return power_above(_mm512_set1_epi32(static_cast<int>(_mm512_reduce_max_epu32(most))));
  }

  // The softmax of a unit. Scales: [32] or null; inverse: of the range of those of values
  void weigh(const float* key_scales, const float* value_scales, F32 inverse) {
    Unit it;
#pragma GCC unroll 8
    for (int i = 0; i < kUnitVectors; ++i) {
      it.s[i] = load(scratch_.scores + i * kWidth);
      if (logits_.plain) continue;
      if (key_scales != nullptr) it.s[i] = it.s[i] * scales_of_keys(key_scales + 4 * i);
      it.s[i] = it.s[i] * logit_scale_;
    }
    const F32 lowest = broadcast(kMinusInfinity), scale = repeat_rows(logits_.logit_scale(0));
    if (const Lanes fresh = equal(m_, lowest); fresh.bits != 0)
      m_ = select(fresh, highest_of(it, scale), m_);
    F32 sum = weights_of(it, value_scales, inverse);
    const Lanes rising = less(broadcast(kMostSum), sum);
    if (__builtin_expect(rising.bits != 0, false)) {
      raise(rising, highest_of(it, scale));
      sum = weights_of(it, value_scales, inverse);
    }
    l_ = l_ + sum;
    store_weights(it, scratch_.weights);
  }

  static F32 highest_of(const Unit& it, F32 logit_scale) {
    return it.largest() * logit_scale - broadcast(kHeadroom);
  }

  [[gnu::always_inline]] F32 weights_of(Unit& it, const float* value_scales, F32 inverse) const {
    const F32 scale = repeat_rows(logits_.exponent_scale(0));
    const F32 shift =
        select(equal(m_, broadcast(kMinusInfinity)), broadcast(0.0f), m_ * broadcast(kLog2E));
    F32 sum = broadcast(0.0f);
    const auto one = [&](int i) __attribute__((always_inline)) {
      F32 p = exp2(fms(it.s[i], scale, shift));
      sum = sum + p;
      if (value_scales != nullptr) p = p * (scales_of_keys(value_scales + 4 * i) * inverse);
      it.p[i] = rounded(p).v;
    };
#pragma GCC unroll 4
    for (int i = 0; i < kUnitVectors / 2; ++i) {
      one(i);
      one(kUnitVectors / 2 + i);
    }
    return over_keys(sum, [](F32 a, F32 b) { return a + b; });
  }

  void raise(Lanes rising, F32 here) {
    const Lanes both{static_cast<__mmask16>(rising.bits & less(m_, here).bits)};
    const F32 before = m_, log2e = broadcast(kLog2E);
    m_ = select(both, here, before);
    const F32 rescale = select(both, exp2(before * log2e - m_ * log2e), broadcast(1.0f));
    l_ = l_ * rescale;
    float factors[kWidth];
    store(factors, rescale);
    for (int t = 0; t < tiles_v_; ++t)
      for (int r = 0; r < kSmallRows; ++r)
        store(outputs(t) + r * kWidth, load(outputs(t) + r * kWidth) * broadcast(factors[r]));
  }

  // Pairs of weights, [4 rows][16 pairs], from vectors of [4 keys][4 rows].
  [[gnu::always_inline]] static void store_weights(const Unit& it, char* to) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    const __m512i by_row = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i c[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      constexpr int kOrAnd = 0xf8;  // a | (b & c)
      const __m512i pairs =
          _mm512_ternarylogic_epi32(_mm512_srli_epi32(it.p[i], 16), it.p[4 + i], upper, kOrAnd);
      c[i] = _mm512_permutexvar_epi32(by_row, pairs);
    }
    const __m512i a = _mm512_shuffle_i32x4(c[0], c[1], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(c[0], c[1], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(c[2], c[3], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(c[2], c[3], 0xdd);
    _mm512_store_si512(to, _mm512_shuffle_i32x4(a, d, 0x88));
    _mm512_store_si512(to + kTileRowBytes, _mm512_shuffle_i32x4(b, e, 0x88));
    _mm512_store_si512(to + 2 * kTileRowBytes, _mm512_shuffle_i32x4(a, d, 0xdd));
    _mm512_store_si512(to + 3 * kTileRowBytes, _mm512_shuffle_i32x4(b, e, 0xdd));
  }

  void add_values(NextLines& lines) const {
    load_tile<7>(scratch_.weights);
    for (int t = 0; t < tiles_v_; t += 2) {
      load_tile<5>(outputs(t));
      load_tile<3>(scratch_.values + t * kTileBytes);
      product<5, 7, 3>();
      load_tile<6>(outputs(t + 1));
      load_tile<4>(scratch_.values + (t + 1) * kTileBytes);
      product<6, 7, 4>();
      store_tile<5>(outputs(t));
      store_tile<6>(outputs(t + 1));
      lines.advance(8);
    }
  }

  // The same with sums from zero, which are multiplied by the unit's range.
  void add_values_in_range(F32 range, NextLines& lines) const {
    load_tile<7>(scratch_.weights);
    for (int t = 0; t < tiles_v_; t += 2) {
      load_tile<3>(scratch_.values + t * kTileBytes);
      clear_tile<5>();
      product<5, 7, 3>();
      load_tile<4>(scratch_.values + (t + 1) * kTileBytes);
      clear_tile<6>();
      product<6, 7, 4>();
      store_tile<5>(outputs(tiles_v_ + t));
      store_tile<6>(outputs(tiles_v_ + t + 1));
      lines.advance(8);
    }
    for (int i = 0; i < tiles_v_ * kSmallRows * kWidth; i += kWidth)
      store(outputs(0) + i, fma(load(outputs(tiles_v_) + i), range, load(outputs(0) + i)));
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const Group group_;
  const int tiles_v_;
  const F32 logit_scale_;
  F32 m_, l_;

  bool open_ = false;       // there is a unit whose scores and values wait
  TileScales open_scales_;  // of the unit
  int scales_index_ = 0;
  float key_scales_[2][kTileKeys], value_scales_[2][kTileKeys];  // of this tile and the one before
};

// Few rows, of which SmallGroup serves what it can.
inline void attend_decode(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task, scratch.query_units);
  const Group group = group_of(task, 0);
  float* outputs = outputs_of(task, scratch, group);
  SmallGroup small(task, logits, scratch);
  bool in_small = false;
  to_outputs(group, task.head_dim_v, outputs);
  each_tile(task, [&](Tile& tile, const Tile* next) {
    const bool whole = SmallGroup::sees_whole(task, tile);
    if (whole && !in_small) {
      from_outputs(outputs, task.head_dim_v, group);
      small.enter();
    } else if (!whole && in_small) {
      small.leave();
      to_outputs(group, task.head_dim_v, outputs);
    }
    in_small = whole;
    whole ? small.attend(tile, next) : attend_few_tile(task, logits, scratch, tile, next);
  });
  in_small ? small.leave() : from_outputs(outputs, task.head_dim_v, group);
}

}  // namespace pagoda::cpu::PAGODA_ISA

// Decode over a cache of 8-bit codes for up to 16 rows, the heads of a group times the query
// tokens, in tiles of keys that the rows see whole, with nothing but scales. Codes pass through
// scratch on their way into tiles; what is stored there cannot be loaded into a tile at once, and a
// product is long in coming. So everything has its own stage, and conversions stand between
// products and what waits for them, in the place of what the step before has multiplied:
//
//     products of queries and keys of unit u        each 64 dimensions beside the conversion of
//                                                   the 64 before, of the keys of unit u + 1
//     products of weights and values of unit u - 1  each 64 columns beside the conversion of the
//                                                   64 before, of the values of unit u
//     softmax of unit u
//
// Keys of int8 are not converted where queries are whole (amx_whole.inl.h): they are loaded into
// tiles as they lie, and a score comes in two parts that are joined when the softmax takes it up.
//
// The first step of a stage has the last conversion of the other one beside it. Memory is asked for
// evenly in all stages: a burst holds up what is read meanwhile.
//
// The rows, 4, 8 or 16, are the columns of small tiles, so that a vector of few rows holds the
// scores of several keys and no lane is idle, and values are paired while they are converted:
//
//     S^T [16 keys, rows]      = rows of keys x packed queries
//     O   [rows, 16 columns]  += weights x pairs of rows of values
//
// What is computed is that of amx_softmax.inl.h, number by number; other tiles go the way of
// amx_few.inl.h.
#pragma once

#include "amx_code_lines.inl.h"
#include "amx_code_tiles.inl.h"
#include "amx_few.inl.h"
#include "amx_transpose.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Keys, Values: what 64 elements are loaded by; kChunks: of 32 columns of both; kRows: 4, 8 or 16
template <class Keys, class Values, int kChunks, int kRows>
class DecodeOfCodes {
 public:
  // The group's state is elsewhere until enter(), which takes it from there unless there is none.
  DecodeOfCodes(const AttendTask& task, const Logits& logits, const AmxScratch& scratch)
      : task_(task),
        logits_(logits),
        scratch_(scratch),
        group_(group_of(task, 0)),
        logit_scale_(scale_of_rows(task, logits)) {}

  void enter(bool is_blank) {
    // 0 and 1: scores; 2: queries; 3 and 4: keys, values; 5 and 6: outputs; 7: weights. Low parts
    // of 16 rows of scores and queries take the places of outputs and weights.
    TileLayout layout;
    for (int tile = 0; tile < 3; ++tile) layout.set(tile, kTileRows, kScoreBytes);
    for (int tile = 3; tile < 5; ++tile) layout.set(tile, kTileRows, kTileRowBytes);
    for (int tile = 5; tile < 8; ++tile) layout.set(tile, kRows, kTileRowBytes);
    configure_tiles(layout);
    if (is_blank) {
      m_ = broadcast(kMinusInfinity);
      l_ = broadcast(0.0f);
      for (int i = 0; i < kTiles * kRows; ++i) store(outputs(0) + i * kWidth, broadcast(0.0f));
      return;
    }
    m_ = repeat_rows(load(group_.m));
    l_ = repeat_rows(load(group_.l));
    each_square([](int, const float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(columns + i * kColumnFloats);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(rows + i * kWidth, r[i]);
    });
  }

  // The state is where tasks have it again; rows that do not exist become some numbers.
  void leave() {
    add_values();
    settle();
    is_open_ = has_keys_ = false;
    configure_full_tiles();
    store(group_.m, m_);
    store(group_.l, l_);
    each_square([](int first, float* columns, const float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(rows + i * kWidth);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) {
        float* column = columns + i * kColumnFloats;
        first == 0 ? _mm512_storeu_ps(column, _mm512_zextps128_ps512(r[i]))
                   : _mm_storeu_ps(column, r[i]);
      }
    });
  }

  // next: the tile that follows in the same way, or null; later: the one after that, to ask for
  void attend(const CodeTile& tile, const CodeTile* next, const CodeTile& later) {
    for (int line = 0; line < kLines && !kAreWhole && !has_keys_; ++line)
      convert(line_of_keys(tile.keys, line));
    const CodeTile& second = next != nullptr ? *next : tile;
    const char* const* const keys[] = {tile.keys, tile.keys + kUnitKeys, second.keys,
                                       second.keys + kUnitKeys,
                                       later.is_whole ? later.keys : second.keys};
    const char* const* const values[] = {tile.values, tile.values + kUnitKeys, second.values,
                                         second.values + kUnitKeys};
    for (int unit = 0; unit < kUnits; ++unit) {
      const int first = unit * kUnitKeys;
      float key_scales[kUnitKeys], value_scales[kUnitKeys];
      has_keys_ = !kAreWhole && (unit < kUnits - 1 || next != nullptr);
      if constexpr (kAreWhole)
        multiply_whole_keys({keys[unit], keys[unit + 2]});
      else
        multiply_keys({keys[unit + 1], keys[unit + 2]});
      add_values(keys[unit + 1], {values[unit], values[unit + 1]});
      ahead_ = {keys[unit + 3], values[unit + 2]};
      weigh(scales(task_.keys, tile.key_scales, first, key_scales),
            scales(task_.values, tile.value_scales, first, value_scales));
    }
  }

 private:
  static constexpr bool kAreWhole = Keys::kAreWhole;
  // Of a row of scores. Whole ones have high and low parts, of 16 rows in tiles of their own.
  static constexpr int kScoreBytes = kAreWhole && kRows < 16 ? kRows * 8 : kRows * 4;

  static constexpr int kKeys = kWidth / kRows;        // of a vector of scores; lane kRows k + r
  static constexpr int kVectors = kUnitKeys / kKeys;  // of scores
  static constexpr int kHalf = kVectors / 2;          // of them, of sixteen keys
  static constexpr int kParts = kRows / 4;            // of a sum of weights

  static constexpr int kLines = kChunks / 2;  // of 64 elements of a row
  static constexpr int kTiles = 2 * kChunks;  // of outputs and values
  static constexpr int kColumnFloats = Values::kColumnStep * kGroupRows;
  using KeysAhead = Ahead<Keys, kLines>;
  using ValuesAhead = Ahead<Values, kLines>;
  static constexpr int kEarly = KeysAhead::kEarly;

  // Those of a unit, or null.
  static const float* scales(const PagedRows& rows, const ScaleRows& from, int first, float* to) {
    if (rows.scales == nullptr) return nullptr;
    from.gather(first, to);
    return to;
  }

  // Of a unit, and those to ask for meanwhile.
  struct Rows {
    const char* const* now;    // [32]
    const char* const* ahead;  // [32]
  };

  // What a product is multiplied by to be a logit, where Logits has no single number for it.
  static F32 scale_of_rows(const AttendTask& task, const Logits& logits) {
    float rows[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r)
      rows[r] = task.query_scale != nullptr ? task.query_scale[r < task.num_rows ? r : 0] : 1.0f;
    return repeat_rows(logits.with_units(task.scale, 0) * load(rows));
  }

  // The rows' numbers for each of a vector's keys.
  [[gnu::always_inline]] static F32 repeat_rows(F32 rows) {
    if (kRows == 4) return {_mm512_broadcast_f32x4(_mm512_castps512_ps128(rows.v))};
    if (kRows == 8) return {_mm512_broadcast_f32x8(_mm512_castps512_ps256(rows.v))};
    return rows;
  }

  // Scales of the keys of vector i, each in the lanes of its rows.
  [[gnu::always_inline]] static F32 scales_of_keys(const float* scales, int i) {
    const float* of_keys = scales + kKeys * i;
    if (kRows == 16) return broadcast(*of_keys);
    if (kRows == 8) return select({0xff00}, broadcast(of_keys[1]), broadcast(of_keys[0]));
    const __m512i key = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return {_mm512_permutexvar_ps(key, _mm512_broadcast_f32x4(_mm_loadu_ps(of_keys)))};
  }

  // The same of every key in all lanes of a row, by a commutative operation.
  template <class Operation>
  [[gnu::always_inline]] static F32 over_keys(F32 x, const Operation& operation) {
    if (kKeys >= 4) x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0xb1)});
    if (kKeys >= 2) x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0x4e)});
    return x;
  }

  // [2 x chunks][rows][16 columns], of the state and then of a unit's sums.
  float* outputs(int tile) const { return scratch_.sums + tile * kRows * kWidth; }
  float* sums(int tile) const { return outputs(kTiles + tile); }

  // body(first row, columns, rows) for every four columns of four rows: where they stand in a
  // state, [column][16 rows], and in outputs.
  template <class Body>
  void each_square(const Body& body) {
    for (int t = 0; t < kTiles; ++t)
      for (int n = 0; n < kWidth; n += 4)
        for (int r = 0; r < kRows; r += 4)
          body(r, group_.o + int64_t{t / 4 * 64 + Values::column_of(t % 4, n)} * kGroupRows + r,
               outputs(t) + r * kWidth + n);
  }

  // Line `line` of a unit's rows, to be converted.
  auto line_of_keys(const char* const* rows, int line) const {
    if constexpr (kAreWhole)
      return NoLine();
    else
      return KeyLine<Keys, kChunks>{
          rows, 64 * line * Keys::kBytes, scratch_.keys + 2 * line * kTileBytes, {}};
  }
  ValueLine<Values> line_of_values(const char* const* rows, int line) const {
    return {rows, 64 * line * Values::kBytes, scratch_.values + 4 * line * kTileBytes, {}};
  }

  // Products of 64 dimensions of the keys that are there. ahead: keys to ask for
  template <class Line>
  [[gnu::always_inline]] void multiply_keys(int line, const char* const* ahead, Line beside) const {
    const char *queries = scratch_.queries, *keys = scratch_.keys;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int c = 2 * line + half;
      load_tile<2>(queries + c * kTileBytes);
      load_tile<3>(keys + c * kTileBytes);
      product<0, 3, 2>();
      beside.quarter(2 * half, KeysAhead(ahead, line, 2 * half));
      load_tile<4>(keys + (kChunks + c) * kTileBytes);
      product<1, 4, 2>();
      beside.quarter(2 * half + 1, KeysAhead(ahead, line, 2 * half + 1));
    }
    beside.finish();
  }

  // Scores of the unit whose keys are there. next: the keys of the one after
  void multiply_keys(const Rows& next) {
    clear_tile<0>();
    clear_tile<1>();
    if (late_values_ != nullptr)
      multiply_keys(0, next.ahead, line_of_values(late_values_, kLines - 1));
    else
      multiply_keys(0, next.ahead, NoLine());
    late_values_ = nullptr;
    for (int line = 1; line < kLines; ++line) {
      if (has_keys_)
        multiply_keys(line, next.ahead, line_of_keys(next.now, line - 1));
      else
        multiply_keys(line, next.ahead, NoLine());
    }
    store_tile<0>(scratch_.scores, kRows * 4);
    store_tile<1>(scratch_.scores + 16 * kRows, kRows * 4);
  }

  // Sixteen keys of a line of codes as they lie, or a copy if they are not in one page.
  [[gnu::always_inline]] TileRows whole_keys(const char* const* rows, int line) const {
    if (__builtin_expect(task_.keys.page_size % kTileRows == 0, true))
      return {rows[0] + 64 * line, task_.keys.token_stride};
    char* copy = scratch_.keys;
    for (int i = 0; i < kTileRows; ++i)
      _mm512_store_si512(copy + i * kTileRowBytes, _mm512_loadu_si512(rows[i] + 64 * line));
    return {copy, kTileRowBytes};
  }

  // Products of 64 dimensions of the keys of a unit. ahead: keys to ask for
  template <class Line>
  [[gnu::always_inline]] void multiply_whole_keys(int line, const Rows& keys, Line beside) const {
    const char* queries = scratch_.query_parts + 2 * line * kTileBytes;
    load_tile<2>(queries);
    if constexpr (kRows == 16) load_tile<7>(queries + kTileBytes);
    const TileRows first = whole_keys(keys.now, line);
    stream_tile<3>(first.first, first.stride);
    product_of_int8<0, 3, 2>();
    if constexpr (kRows == 16) product_of_int8<5, 3, 7>();
    beside.quarter(0, KeysAhead(keys.ahead, line, 0));
    beside.quarter(1, KeysAhead(keys.ahead, line, 1));
    const TileRows second = whole_keys(keys.now + kTileRows, line);
    stream_tile<4>(second.first, second.stride);
    product_of_int8<1, 4, 2>();
    if constexpr (kRows == 16) product_of_int8<6, 4, 7>();
    beside.quarter(2, KeysAhead(keys.ahead, line, 2));
    beside.quarter(3, KeysAhead(keys.ahead, line, 3));
    beside.finish();
  }

  // Scores of a unit, in their parts.
  void multiply_whole_keys(const Rows& keys) {
    clear_tile<0>();
    clear_tile<1>();
    if constexpr (kRows == 16) {
      clear_tile<5>();
      clear_tile<6>();
    }
    if (late_values_ != nullptr)
      multiply_whole_keys(0, keys, line_of_values(late_values_, kLines - 1));
    else
      multiply_whole_keys(0, keys, NoLine());
    late_values_ = nullptr;
    for (int line = 1; line < kLines; ++line) multiply_whole_keys(line, keys, NoLine());
    float* low = scratch_.scores + kUnitKeys * kWidth;
    store_tile<0>(scratch_.scores, kScoreBytes);
    store_tile<1>(scratch_.scores + kTileRows * kScoreBytes / 4, kScoreBytes);
    if constexpr (kRows == 16) {
      store_tile<5>(low, kScoreBytes);
      store_tile<6>(low + kTileRows * kWidth, kScoreBytes);
    }
  }

  // Vector i of scores.
  [[gnu::always_inline]] F32 products(int i) const {
    const float* from = scratch_.scores;
    if constexpr (!kAreWhole) return load(from + i * kWidth);
    __m512i high, low;
    if constexpr (kRows == 16) {
      high = _mm512_load_si512(from + i * kWidth);
      low = _mm512_load_si512(from + kUnitKeys * kWidth + i * kWidth);
    } else {
      const __m512i a = _mm512_load_si512(from + 2 * i * kWidth);
      const __m512i b = _mm512_load_si512(from + (2 * i + 1) * kWidth);
      high = _mm512_shuffle_i32x4(a, b, kRows == 4 ? 0x88 : 0x44);
      low = _mm512_shuffle_i32x4(a, b, kRows == 4 ? 0xdd : 0xee);
    }
    return {_mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low))};
  }

  bool has_range() const {
    return kIsNarrow && task_.values.scales != nullptr;
  }

  // Products of the unit before, if there is one. keys: of the next unit; next: the values of this
  // one
  void add_values(const char* const* keys, const Rows& next) {
    if (!is_open_) {
      if (has_keys_) convert(line_of_keys(keys, kLines - 1));
      for (int line = 0; line < kLines; ++line) convert(line_of_values(next.now, line));
      return;
    }
    has_range() ? multiply_values<true>(keys, next) : multiply_values<false>(keys, next);
    late_values_ = next.now;
    has_sums_ = has_range();
  }
  // Of the last unit.
  void add_values() {
    if (late_values_ != nullptr) convert(line_of_values(late_values_, kLines - 1));
    late_values_ = nullptr;
    if (!is_open_) return;
    load_tile<7>(scratch_.weights);
    for (int line = 0; line < kLines; ++line) {
      has_range() ? multiply_values<true>(line, nullptr, NoLine())
                  : multiply_values<false>(line, nullptr, NoLine());
    }
    has_sums_ = has_range();
  }

  // With a range the sums start from zero, and settle() adds them.
  template <bool kApart>
  [[gnu::always_inline]] void multiply_values(const char* const* keys, const Rows& next) const {
    load_tile<7>(scratch_.weights);
    if (has_keys_)
      multiply_values<kApart>(0, next.ahead, line_of_keys(keys, kLines - 1));
    else
      multiply_values<kApart>(0, next.ahead, NoLine());
    for (int line = 1; line < kLines; ++line)
      multiply_values<kApart>(line, next.ahead, line_of_values(next.now, line - 1));
  }

  // Of 64 columns. ahead: values to ask for, or null
  template <bool kApart, class Line>
  [[gnu::always_inline]] void multiply_values(int line, const char* const* ahead,
                                              Line beside) const {
    const char* from = scratch_.values + 4 * line * kTileBytes;
    float* to = kApart ? sums(4 * line) : outputs(4 * line);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, from += 2 * kTileBytes, to += 2 * kRows * kWidth) {
      kApart ? clear_tile<5>() : load_tile<5>(to);
      load_tile<3>(from);
      product<5, 7, 3>();
      kApart ? clear_tile<6>() : load_tile<6>(to + kRows * kWidth);
      load_tile<4>(from + kTileBytes);
      product<6, 7, 4>();
      beside.quarter(2 * half, ValuesAhead(ahead, line, 2 * half));
      beside.quarter(2 * half + 1, ValuesAhead(ahead, line, 2 * half + 1));
      store_tile<5>(to);
      store_tile<6>(to + kRows * kWidth);
    }
    beside.finish();
  }

  void settle() {
    if (!has_sums_) return;
    has_sums_ = false;
    const float* from = sums(0);
    float* to = outputs(0);
    for (int i = 0; i < kTiles * kRows * kWidth; i += kWidth)
      store(to + i, fma(load(from + i), range_, load(to + i)));
  }

  struct Scores {
    F32 s[kVectors];

    F32 highest(F32 logit_scale) const {
      F32 most = s[0];
      for (int i = 1; i < kVectors; ++i) most = max(s[i], most);
      most = over_keys(most, [](F32 a, F32 b) { return max(a, b); });
      return most * logit_scale - broadcast(kHeadroom);
    }
  };

  // Of the unit, as logits unless they are plain. key_scales: [32] or null
  [[gnu::always_inline]] Scores scores(const float* key_scales) const {
    Scores it;
#pragma GCC unroll 32
    for (int i = 0; i < kVectors; ++i) {
      it.s[i] = products(i);
      if (logits_.plain) continue;
      if (key_scales != nullptr) it.s[i] = it.s[i] * scales_of_keys(key_scales, i);
      it.s[i] = it.s[i] * logit_scale_;
    }
    return it;
  }

  // The softmax of the unit. Scales: [32] or null
  void weigh(const float* key_scales, const float* value_scales) {
    const Scores it = scores(key_scales);
    const F32 lowest = broadcast(kMinusInfinity), scale = repeat_rows(logits_.logit_scale(0));
    if (const Lanes fresh = equal(m_, lowest); __builtin_expect(fresh.bits != 0, false))
      m_ = select(fresh, it.highest(scale), m_);
    settle();  // in units of the range of before
    range_ = range_of_unit(value_scales);
    F32 sum = make_weights<true>(it, value_scales);
    const Lanes rising = less(broadcast(kMostSum), sum);
    if (__builtin_expect(rising.bits != 0, false))
      sum = weigh_higher(rising, key_scales, value_scales);
    l_ = l_ + sum;
    is_open_ = true;
  }

  // With maxima that rise first.
  [[gnu::noinline]] F32 weigh_higher(Lanes rising, const float* key_scales,
                                     const float* value_scales) {
    const Scores it = scores(key_scales);
    raise(rising, it.highest(repeat_rows(logits_.logit_scale(0))));
    return make_weights<false>(it, value_scales);
  }

  // range_of, for rows that see all keys. value_scales: [32] or null
  static F32 range_of_unit(const float* value_scales) {
    if (!kIsNarrow || value_scales == nullptr) return broadcast(1.0f);
    const __m512i low = size_bits(_mm512_loadu_si512(value_scales));
    const __m512i high = size_bits(_mm512_loadu_si512(value_scales + kWidth));
    const __m512i most = _mm512_max_epu32(low, high);
    return power_above(_mm512_set1_epi32(static_cast<int>(_mm512_reduce_max_epu32(most))));
  }

  // Stores them; returns their sum.
  template <bool kAsks>
  [[gnu::always_inline]] F32 make_weights(const Scores& it, const float* value_scales) const {
    const F32 scale = repeat_rows(logits_.exponent_scale(0)), inverse = inverse_of_power(range_);
    const F32 shift =
        select(equal(m_, broadcast(kMinusInfinity)), broadcast(0.0f), m_ * broadcast(kLog2E));
    F32 sum[kParts];
#pragma GCC unroll 4
    for (F32& part : sum) part = broadcast(0.0f);
    const auto one = [&](int i) __attribute__((always_inline)) {
      if (kAsks)
#pragma GCC unroll 4
        for (int line = kEarly * i / kVectors; line < kEarly * (i + 1) / kVectors; ++line) {
          KeysAhead::ask_for(ahead_.keys, line);
          ValuesAhead::ask_for(ahead_.values, line);
        }
      const F32 p = exp2(fms(it.s[i], scale, shift));
      F32& part = sum[i % kParts];
      part = part + p;
      return value_scales != nullptr ? p * (scales_of_keys(value_scales, i) * inverse) : p;
    };
    __m512i pairs[kHalf];
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
      const F32 first = one(i);
      pairs[i] = rounded_pair(first, one(kHalf + i));
    }
    store_weights(pairs, scratch_.weights);
#pragma GCC unroll 4
    for (F32& part : sum) part = over_keys(part, [](F32 a, F32 b) { return a + b; });
    if constexpr (kParts == 1) return sum[0];
    if constexpr (kParts == 2) return sum[0] + sum[1];
    if constexpr (kParts == 4) return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }

  void raise(Lanes rising, F32 here) {
    const Lanes both{static_cast<__mmask16>(rising.bits & less(m_, here).bits)};
    const F32 before = m_, log2e = broadcast(kLog2E);
    m_ = select(both, here, before);
    const F32 rescale = select(both, exp2(before * log2e - m_ * log2e), broadcast(1.0f));
    l_ = l_ * rescale;
    float factors[kWidth];
    store(factors, rescale);
    for (int t = 0; t < kTiles; ++t)
      for (int r = 0; r < kRows; ++r)
        store(outputs(t) + r * kWidth, load(outputs(t) + r * kWidth) * broadcast(factors[r]));
  }

  // Pairs of weights, [rows][16 pairs], from vectors of pairs of [keys][rows].
  [[gnu::always_inline]] static void store_weights(__m512i (&pairs)[kHalf], char* to) {
    __m512i rows[kRows];
    if constexpr (kRows == 4) transpose_4(pairs, rows);
    if constexpr (kRows == 8) transpose_8(pairs, rows);
    if constexpr (kRows == 16) transpose(pairs);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      _mm512_store_si512(to + r * kTileRowBytes, kRows == 16 ? pairs[r] : rows[r]);
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const Group group_;
  const F32 logit_scale_;
  F32 m_, l_, range_;

  struct {
    const char *const *keys, *const *values;
  } ahead_;  // units to ask for beside the softmax

  const char* const* late_values_ = nullptr;  // whose last line is not converted yet

  bool has_keys_ = false;  // of the next unit, converted
  bool is_open_ = false;   // there is a unit whose weights and values wait
  bool has_sums_ = false;  // there are sums of the unit before, not yet added
};

}  // namespace pagoda::cpu::PAGODA_ISA

// Up to 16 rows, the heads of a group times the query tokens of a decode step, with nothing but
// scales between products and weights. Keys and values are used as they lie, 32 keys at a time:
//
//     S^T [16 keys, rows]        = rows of keys x packed queries
//     sums [2 x rows, 16 words]  = weights x rows of values, of even columns and of odd ones
//     O                         += sums
//
// A word of a row of values holds two neighbouring columns. A weight in the lower half of a word
// multiplies the even one, in the upper half the odd one; both kinds of rows of weights stand in
// one tile: a product takes 11 cycles for 8 rows and 18 for 16, and an own load for either kind.
//
// What is computed is that of amx_softmax.inl.h, number by number. The units go through a pipeline
// of four places, whose work is interleaved chunk by chunk: the keys of a unit are multiplied, the
// weights of the one before are computed, the values of the one before that are multiplied, and the
// sums of the oldest are added. So there is always work for the time until a product's sums are
// there, and no place waits for what another has just stored.
#pragma once

#include "amx_few.inl.h"
#include "amx_pieces.inl.h"
#include "amx_transpose.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// A unit on its way.
struct FewUnit {
  TileRows keys[2], values[2];             // of sixteen rows each
  bool whole;                              // every row sees every key
  alignas(64) uint32_t words[kGroupRows];  // keys that a row sees, unless whole
};

// kRows: 4, 8 or 16 columns of the products of queries and keys
template <int kRows>
class FewRows {
 public:
  FewRows(const AttendTask& task, const AmxScratch& scratch)
      : task_(task),
        scratch_(scratch),
        group_(group_of(task, 0)),
        chunks_(chunks_of(task.head_dim)),
        chunks_v_(chunks_of(task.head_dim_v)),
        pieces_(task) {
    const Logits logits(task, scratch.query_units);
    plain_ = logits.plain;
    scale_ = repeat_rows(logits.with_units(task.scale, 0)) * scales_of_queries(task);
    exponent_scale_ = repeat_rows(logits.exponent_scale(0));
    logit_scale_ = repeat_rows(logits.logit_scale(0));
  }

  static bool serves(const AttendTask& task) {
    return task.num_rows <= kRows && task.key_element == kTileElement &&
           task.value_element == kTileElement && task.softcap == 0 && task.bias == Bias::none &&
           task.score.apply == nullptr;
  }

  void run() {
    configure();
    begin();
    const bool in_pieces = Pieces::serves(task_) && task_.head_dim % kChunkDims == 0 &&
                           task_.head_dim_v % kChunkDims == 0;
    in_pieces ? attend_pieces() : attend_tiles();
    drain();
    end();
  }

 private:
  static constexpr int kKeys = kWidth / kRows;        // of a vector of scores
  static constexpr int kVectors = kUnitKeys / kKeys;  // of scores of a unit
  static constexpr int kHalf = kVectors / 2;          // of them, of sixteen keys
  static constexpr int kParts = kRows / 4;            // of a sum of weights
  static constexpr int kSteps = kHalf / kParts;       // of the weights of a unit
  static constexpr bool kStacked = kRows <= 8;        // even columns above odd ones
  static constexpr int kWeightTiles = kStacked ? 2 : 4;
  static constexpr int kColumnRows = 2 * kRows;  // of outputs of 32 columns
  static constexpr int kRing = 4;                // units on their way
  static constexpr int kTouchAhead = 3;          // units between a first touch and the use

  // Tiles 0 and 1 are scores, 2 queries, 3 keys or values, 4 and 5 sums, 6 and 7 weights.
  static void configure() {
    if (!kStacked) return configure_full_tiles();
    TileLayout layout;
    for (int tile = 0; tile < 3; ++tile) layout.set(tile, kTileRows, kRows * 4);
    layout.set(3, kTileRows, kTileRowBytes);
    for (int tile = 4; tile < 8; ++tile) layout.set(tile, 2 * kRows, kTileRowBytes);
    configure_tiles(layout);
  }

  // The same of a row in the lanes of all its keys.
  static F32 repeat_rows(const float* rows) {
    if (kRows == 4) return {_mm512_broadcast_f32x4(_mm_loadu_ps(rows))};
    if (kRows == 8) return {_mm512_broadcast_f32x8(_mm256_loadu_ps(rows))};
    return load(rows);
  }
  static F32 repeat_rows(F32 rows) {
    float lanes[kWidth];
    store(lanes, rows);
    return repeat_rows(lanes);
  }

  static F32 scales_of_queries(const AttendTask& task) {
    float rows[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r)
      rows[r] = task.query_scale != nullptr ? task.query_scale[r < task.num_rows ? r : 0] : 1.0f;
    return repeat_rows(rows);
  }

  int num_outputs() const { return chunks_v_ * kColumnRows; }
  // [chunks][2 parities][kRows][16]; next: those that are being made
  float* outputs(int next = 0) const {
    return scratch_.outputs + (outputs_index_ ^ next) * num_outputs() * kWidth;
  }
  // Of a unit's products with its values, likewise.
  float* sums_of(uint32_t unit) const {
    return scratch_.sums + (unit & 1) * num_outputs() * kWidth;
  }
  float* scores_of(uint32_t unit) const { return scratch_.scores + (unit & 1) * kUnitKeys * kRows; }
  char* weights_of(uint32_t unit) const {
    return scratch_.weights + unit % kRing * (kWeightTiles * kTileBytes);
  }

  // Of every four rows of outputs and four columns: where they stand in a state, and here.
  template <class Body>
  void each_square(const Body& body) const {
    for (int c = 0; c < chunks_v_; ++c)
      for (int odd = 0; odd < 2; ++odd)
        for (int n = 0; n < kWidth; n += 4)
          for (int r = 0; r < kRows; r += 4)
            body(r, group_.o + int64_t{c * kChunkDims + 2 * n + odd} * kGroupRows + r,
                 outputs() + ((c * 2 + odd) * kRows + r) * kWidth + n);
  }

  void begin() {
    if (!task_.continues) {
      m_ = broadcast(kMinusInfinity);
      l_ = broadcast(0.0f);
      float* to = outputs();
      for (int i = 0, n = num_outputs(); i < n; ++i) store(to + i * kWidth, broadcast(0.0f));
      return;
    }
    m_ = repeat_rows(group_.m);
    l_ = repeat_rows(group_.l);
    take_outputs();
  }
  void take_outputs() const {
    if constexpr (kRows == 16) return to_outputs(group_, task_.head_dim_v, outputs());
    each_square([](int, float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(columns + i * 2 * kGroupRows);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(rows + i * kWidth, r[i]);
    });
  }
  void give_outputs() const {
    if constexpr (kRows == 16) return from_outputs(outputs(), task_.head_dim_v, group_);
    each_square([](int first, float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(rows + i * kWidth);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) {
        float* column = columns + i * 2 * kGroupRows;
        first == 0 ? _mm512_storeu_ps(column, _mm512_zextps128_ps512(r[i]))  // rows that are not
                   : _mm_storeu_ps(column, r[i]);
      }
    });
  }
  void end() const {
    store(group_.m, m_);
    store(group_.l, l_);
    give_outputs();
  }

  // Whole tiles are taken from their pages piece by piece, the rest row by row.
  void attend_pieces() {
    SeenTile tile = SeenTile::none(task_.seen);
    for (int start = task_.key_begin; find_seen(task_, start, tile); start += kTileKeys) {
      start = tile.start;
      if (tile.any == ~uint64_t{0}) {
        attend_whole(tile);
        continue;
      }
      Tile rows;
      set_tile(task_, tile, rows);
      attend(rows);
    }
  }
  void attend_whole(const SeenTile& tile) {
    const bool whole = tile.is_uniform() && tile.first == 0 && tile.last == task_.num_rows;
    for (int first = 0; first < kTileKeys; first += kUnitKeys) {
      const int key = tile.start + first;
      LinesAhead lines;
      ask_ahead(key, lines);
      const UnitRows& rows = pieces_.at(key);
      FewUnit& unit = units_[entered_ % kRing];
      for (int i = 0; i < 2; ++i) {
        unit.keys[i] = {rows.keys[i], task_.keys.token_stride};
        unit.values[i] = {rows.values[i], task_.values.token_stride};
      }
      unit.whole = whole;
      if (!whole) see_unit(tile, first, unit);
      enter(lines);
    }
  }

  // Asks for the keys of the next unit and the values that are multiplied next, and touches the
  // first lines of those behind.
  void ask_ahead(int key, LinesAhead& lines) {
    const UnitRows* next = pieces_.ahead(key + kUnitKeys);
    if (next != nullptr) lines.add(0, task_.keys, next->keys);
    if (entered_ > 0) {
      const TileRows(&values)[2] = units_[(entered_ - 1) % kRing].values;
      const char* const pieces[2] = {values[0].first, values[1].first};
      lines.add(2, task_.values, pieces);
    }
    if (next != nullptr) touch(next->values);
    if (const UnitRows* later = pieces_.ahead(key + kTouchAhead * kUnitKeys)) touch(later->keys);
  }
  static void touch(const char* const* pieces) {
    prefetch(pieces[0]);
    prefetch(pieces[1]);
  }

  void attend_tiles() {
    each_tile(task_, [&](Tile& tile, const Tile*) { attend(tile); });
  }
  void attend(Tile& tile) {
    const SeenTile& seen = tile.seen;
    const bool whole = seen.any == ~uint64_t{0} && seen.is_uniform() && tile.first == 0 &&
                       tile.last == task_.num_rows;
    for (int first = 0; first < tile.end; first += kUnitKeys) {
      LinesAhead lines;
      FewUnit& unit = units_[entered_ % kRing];
      const int64_t slot = entered_ % kRing;
      place(task_.keys, tile.keys + first, task_.head_dim,
            scratch_.keys + slot * 2 * chunks_ * kTileBytes, unit.keys);
      place(task_.values, tile.values + first, task_.head_dim_v,
            scratch_.values + slot * 2 * chunks_v_ * kTileBytes, unit.values);
      unit.whole = whole;
      if (!whole) see_unit(seen, first, unit);
      enter(lines);
    }
  }

  void see_unit(const SeenTile& tile, int first, FewUnit& unit) const {
    for (int r = 0; r < kGroupRows; ++r) {
      const int row = r < task_.num_rows ? r : 0;
      const bool sees = row >= tile.first && row < tile.last;
      unit.words[r] = sees ? static_cast<uint32_t>(tile.words[row] >> first) : 0;
    }
  }

  void enter(LinesAhead& lines) {
    ++entered_;
    step(lines);
  }
  void drain() {
    LinesAhead none;
    for (int i = 1; i < kRing; ++i) step(none);
  }

  // Finds out how tiles are loaded from a unit's rows, or copies them. pointers: [32]
  static void place(const PagedRows& rows, const char* const* pointers, int dim, char* copy,
                    TileRows (&to)[2]) {
    to[0] = rows_at(rows.token_stride, pointers, dim, copy);
    to[1] = rows_at(rows.token_stride, pointers + 16, dim, copy + chunks_of(dim) * kTileBytes);
  }

  bool exists(uint32_t unit) const { return unit < entered_; }  // of numbers below 0 too

  void step(LinesAhead& lines) {
    const uint32_t weighed = now_ - 1;
    if (exists(weighed) && !(units_[weighed % kRing].whole && plain_))
      step<false>(lines);
    else
      step<true>(lines);
    ++now_;
  }

  // One step of the pipeline. kPlain: every row sees every key of the unit that is weighed.
  template <bool kPlain>
  void step(LinesAhead& lines) {
    const uint32_t unit = now_;
    const bool multiplies = exists(unit), weighs = exists(unit - 1), sums = exists(unit - 2);
    const bool settles = exists(unit - 3) && settled_ == unit - 3;
    const int chunks = larger(chunks_, chunks_v_);
    const int beside = (kPieceKeys + chunks - 1) / chunks;
    Weighing it;
    if (weighs) start<kPlain>(unit - 1, it);
    if (multiplies) {
      clear_tile<0>();
      clear_tile<1>();
    }
    F32 check = broadcast(0.0f);
    int done = 0;
    for (int c = 0; c < chunks; ++c) {
      if (multiplies && c < chunks_) multiply_keys(unit, c);
      lines.ask(0, beside);
      if (settles && c < chunks_v_) settle(unit - 3, c, check);
      lines.ask(1, beside);
      if (sums && c < chunks_v_) multiply_values(unit - 2, c);
      lines.ask(2, beside);
      if (weighs)
        for (const int until = kSteps * (c + 1) / chunks; done < until; ++done)
          weigh<kPlain>(done, it);
      lines.ask(3, beside);
    }
    if (multiplies) {
      store_tile<0>(scores_of(unit), kRows * 4);
      store_tile<1>(scores_of(unit) + 16 * kRows, kRows * 4);
    }
    if (settles) finish_settling(check);
    if (weighs) finish<kPlain>(it);
  }

  [[gnu::always_inline]] void multiply_keys(uint32_t number, int chunk) const {
    const FewUnit& unit = units_[number % kRing];
    load_tile<2>(scratch_.queries + chunk * kTileBytes);
    load_tile<3>(unit.keys[0].first + chunk * kTileRowBytes, unit.keys[0].stride);
    product<0, 3, 2>();
    load_tile<3>(unit.keys[1].first + chunk * kTileRowBytes, unit.keys[1].stride);
    product<1, 3, 2>();
  }

  [[gnu::always_inline]] void multiply_values(uint32_t number, int chunk) const {
    const FewUnit& unit = units_[number % kRing];
    const char* weights = weights_of(number);
    float* sums = sums_of(number) + chunk * kColumnRows * kWidth;
    if (kStacked) {
      if (chunk == 0) {
        load_tile<6>(weights);
        load_tile<7>(weights + kTileBytes);
      }
      clear_tile<4>();
      load_tile<3>(unit.values[0].first + chunk * kTileRowBytes, unit.values[0].stride);
      product<4, 6, 3>();
      load_tile<3>(unit.values[1].first + chunk * kTileRowBytes, unit.values[1].stride);
      product<4, 7, 3>();
      store_tile<4>(sums);
      return;
    }
    clear_tile<4>();
    clear_tile<5>();
    for (int half = 0; half < 2; ++half, weights += 2 * kTileBytes) {
      load_tile<3>(unit.values[half].first + chunk * kTileRowBytes, unit.values[half].stride);
      load_tile<6>(weights);
      product<4, 6, 3>();
      load_tile<7>(weights + kTileBytes);
      product<5, 7, 3>();
    }
    store_tile<4>(sums);
    store_tile<5>(sums + kRows * kWidth);
  }

  // The weights of a unit while they are computed.
  struct Weighing {
    uint32_t unit;
    __m512i words;
    F32 shift, part[kParts];
    __m512i p[kVectors];  // rounded in the upper halves of words
  };

  // The same of every key in all lanes of a row, by a commutative operation.
  template <class Operation>
  [[gnu::always_inline]] static F32 over_keys(F32 x, const Operation& operation) {
    if (kKeys >= 4) x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0xb1)});
    if (kKeys >= 2) x = operation(x, F32{_mm512_shuffle_f32x4(x.v, x.v, 0x4e)});
    return x;
  }

  [[gnu::always_inline]] static Lanes seen_in(__m512i words, int index) {
    return {
        _mm512_test_epi32_mask(words, _mm512_set1_epi32(static_cast<int>(1u << index * kKeys)))};
  }

  // Lane key x kRows + row has the row's word from that key on.
  static __m512i words_of_lanes(const FewUnit& unit) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i words = _mm512_permutexvar_epi32(
        _mm512_and_si512(lane, _mm512_set1_epi32(kRows - 1)), _mm512_load_si512(unit.words));
    return _mm512_srlv_epi32(words, _mm512_srli_epi32(lane, kRows == 4 ? 2 : kRows == 8 ? 3 : 4));
  }

  template <bool kPlain>
  [[gnu::always_inline]] F32 logit(const Weighing& it, int index) const {
    F32 s = load(scores_of(it.unit) + index * kWidth);
    if (kPlain) return s;
    if (!plain_) s = s * scale_;
    return select(seen_in(it.words, index), s, broadcast(kMinusInfinity));
  }

  template <bool kPlain>
  [[gnu::noinline]] F32 largest(const Weighing& it) const {
    F32 most = logit<kPlain>(it, 0);
    for (int i = 1; i < kVectors; ++i) most = max(logit<kPlain>(it, i), most);
    most = over_keys(most, [](F32 a, F32 b) { return max(a, b); });
    return most * logit_scale_ - broadcast(kHeadroom);
  }

  template <bool kPlain>
  [[gnu::always_inline]] void start(uint32_t unit, Weighing& it) {
    it.unit = unit;
    if (!kPlain) {
      it.words = _mm512_set1_epi32(-1);
      if (!units_[unit % kRing].whole) it.words = words_of_lanes(units_[unit % kRing]);
    }
    const Lanes fresh = equal(m_, broadcast(kMinusInfinity));
    if (__builtin_expect(fresh.bits != 0, false)) m_ = select(fresh, largest<kPlain>(it), m_);
    reset(it);
  }
  [[gnu::always_inline]] void reset(Weighing& it) const {
    it.shift =
        select(equal(m_, broadcast(kMinusInfinity)), broadcast(0.0f), m_ * broadcast(kLog2E));
    for (F32& part : it.part) part = broadcast(0.0f);
  }

  template <bool kPlain>
  [[gnu::always_inline]] void weigh(int step, Weighing& it) const {
#pragma GCC unroll 8
    for (int j = 0; j < 2 * kParts; ++j) {
      const int index = step * kParts + j / 2 + j % 2 * kHalf;
      F32 x = exp2(fms(logit<kPlain>(it, index), exponent_scale_, it.shift));
      it.part[j / 2] = it.part[j / 2] + x;
      it.p[index] = rounded(x).v;
    }
  }

  [[gnu::always_inline]] static F32 sum_of(const Weighing& it) {
    if constexpr (kParts == 4) return (it.part[0] + it.part[1]) + (it.part[2] + it.part[3]);
    const auto add = [](F32 a, F32 b) { return a + b; };
    F32 sum = over_keys(it.part[0], add);
    if constexpr (kParts == 2) sum = sum + over_keys(it.part[1], add);
    return sum;
  }

  template <bool kPlain>
  [[gnu::always_inline]] void finish(Weighing& it) {
    F32 sum = sum_of(it);
    const Lanes rising = less(broadcast(kMostSum), sum);
    if (__builtin_expect(rising.bits != 0, false)) sum = raise<kPlain>(rising, it);
    l_ = l_ + sum;
    char* to = weights_of(it.unit);
    store_weights(it.p, to);
    store_weights(it.p + kHalf, to + kWeightTiles / 2 * kTileBytes);
  }

  // The maximum of some rows rises to that of the unit, and its weights are computed again.
  template <bool kPlain>
  [[gnu::noinline]] F32 raise(Lanes rising, Weighing& it) {
    if (exists(it.unit - 1)) settle_all(it.unit - 1);
    const Lanes both{static_cast<__mmask16>(rising.bits & less(m_, largest<kPlain>(it)).bits)};
    const F32 before = m_, log2e = broadcast(kLog2E);
    m_ = select(both, largest<kPlain>(it), before);
    const F32 rescale = select(both, exp2(before * log2e - m_ * log2e), broadcast(1.0f));
    l_ = l_ * rescale;
    float factors[kWidth];
    store(factors, rescale);
    float* o = outputs();
    for (int i = 0; i < num_outputs(); ++i, o += kWidth)
      store(o, load(o) * broadcast(factors[i % kRows]));
    reset(it);
    for (int i = 0; i < kSteps; ++i) weigh<kPlain>(i, it);
    return sum_of(it);
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

  // Adds the sums of a unit and a chunk. check stays 0 where they are finite.
  [[gnu::always_inline]] void settle(uint32_t unit, int chunk, F32& check) const {
    const int64_t first = int64_t{chunk} * kColumnRows * kWidth;
    const float *sums = sums_of(unit) + first, *from = outputs() + first;
    float* to = outputs(1) + first;
    F32 zero[2] = {check, broadcast(0.0f)};
#pragma GCC unroll 16
    for (int i = 0; i < kColumnRows; ++i) {
      const F32 sum = load(sums + i * kWidth);
      zero[i % 2] = fma(sum, broadcast(0.0f), zero[i % 2]);
      store(to + i * kWidth, load(from + i * kWidth) + sum);
    }
    check = zero[0] + zero[1];
  }
  void settle_all(uint32_t unit) {
    F32 check = broadcast(0.0f);
    for (int c = 0; c < chunks_v_; ++c) settle(unit, c, check);
    finish_settling(check);
  }

  // Of the oldest unit that is not settled.
  [[gnu::always_inline]] void finish_settling(F32 check) {
    if (__builtin_expect(equal(check, check).bits != 0xffff, false))
      add_exactly(settled_);
    else
      outputs_index_ ^= 1;
    ++settled_;
  }

  // Values that are not finite: once more, each row with what it sees alone.
  [[gnu::noinline]] void add_exactly(uint32_t number) {
    const FewUnit& unit = units_[number % kRing];
    uint64_t words[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r) words[r] = unit.whole ? ~uint32_t{0} : unit.words[r];
    Seen seen;
    see_group(words, group_.rows, seen);
    const char* rows[kUnitKeys];
    for (int i = 0; i < kUnitKeys; ++i)
      rows[i] = unit.values[i / 16].first + i % 16 * unit.values[i / 16].stride;
    char* values = scratch_.keys + int64_t{kPassKeys / 32} * chunks_ * kTileBytes;
    pack_values(rows, task_.head_dim_v, values);
    collect_weights(number, scratch_.rounded);
    char* weights = reinterpret_cast<char*>(scratch_.run_scores);
    pair_weights(scratch_.rounded, weights);
    give_outputs();
    configure_full_tiles();
    accumulate_exactly(group_, seen, 0, values, 2 * chunks_v_, weights, broadcast(1.0f));
    configure();
    take_outputs();
  }

  // to: [32 keys][16 rows] in the upper halves of words
  void collect_weights(uint32_t number, uint32_t* to) const {
    for (int half = 0; half < 2; ++half) {
      const char* tile = weights_of(number) + half * (kWeightTiles / 2) * kTileBytes;
      for (int row = 0; row < kRows; ++row)
        for (int key = 0; key < 16; ++key) {
          uint32_t weight = 0;
          __builtin_memcpy(&weight, tile + row * kTileRowBytes + key * 4, sizeof weight);
          to[(half * 16 + key) * kGroupRows + row] = weight << 16;
        }
    }
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const Group group_;
  const int chunks_, chunks_v_;
  bool plain_;  // the products are the logits but for a factor, which joins the exponent
  F32 scale_, exponent_scale_, logit_scale_;
  F32 m_, l_;

  // Units are counted from 0: those that have entered, the one whose place is the first, and those
  // whose sums are in the outputs.
  uint32_t entered_ = 0, now_ = 0, settled_ = 0;
  FewUnit units_[kRing];
  Pieces pieces_;
  int outputs_index_ = 0;
};

// Whether it did the task.
inline bool attend_in_pipeline(const AttendTask& task, const AmxScratch& scratch) {
  if (!FewRows<kGroupRows>::serves(task)) return false;
  if (task.num_rows <= 4)
    FewRows<4>(task, scratch).run();
  else if (task.num_rows <= 8)
    FewRows<8>(task, scratch).run();
  else
    FewRows<16>(task, scratch).run();
  return true;
}

}  // namespace pagoda::cpu::PAGODA_ISA

// Up to 32 rows, the heads of a group times the query tokens of a decode step, with nothing but
// scales between products and weights. Keys are used as they lie, 32 at a time:
//
//     S^T [16 keys, rows]  = rows of keys x packed queries
//
// and so are values of whole tiles for up to 8 rows (amx_in_place.inl.h); others are paired on the
// way (amx_paired.inl.h). What is computed is that of amx_softmax.inl.h, number by number.
//
// The units go through a pipeline whose places' work is interleaved chunk by chunk: the keys of a
// unit are multiplied, the weights of the one before are computed, the values of the one before
// that are multiplied. So there is always work for the time until a product's sums are there, and
// no place waits for what another has just stored.
#pragma once

#include "amx_in_place.inl.h"
#include "amx_paired.inl.h"
#include "amx_pieces.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// kRows: 4, 8 or 16 columns of the products of queries and keys, for each group; Values: how they
// are multiplied
template <int kRows, class Values>
class FewRows {
 public:
  FewRows(const AttendTask& task, const AmxScratch& scratch)
      : task_(task),
        scratch_(scratch),
        places_(task, scratch),
        values_(task, scratch),
        chunks_(larger(places_.chunks(), places_.chunks_v())),
        pieces_(task) {
    const Logits logits(task, scratch.query_units);
    plain_ = logits.plain;
    for (int g = 0; g < kGroups; ++g) {
      const int first = g * kGroupRows;
      Rows& rows = rows_[g];
      rows.group = group_of(task, first);
      rows.scale = repeat_rows(logits.with_units(task.scale, first) *
                               per_row(task.query_scale, rows.group, 1.0f));
      rows.exponent_scale = repeat_rows(logits.exponent_scale(first));
      rows.logit_scale = repeat_rows(logits.logit_scale(first));
    }
  }

  void run() {
    static constexpr TileLayout kLayout = Values::layout();
    const TileConfig config(kLayout);
    begin();
    begun_ = _rdtsc();
    Pieces::serves(task_) ? attend_pieces() : attend_tiles();
    LinesAhead none(task_);
    for (int i = 1; i < Values::kPlaces; ++i) step(none);
    end();
  }

 private:
  static constexpr int kGroups = Values::kGroups;
  static constexpr int kKeys = kWidth / kRows;        // of a vector of scores
  static constexpr int kVectors = kUnitKeys / kKeys;  // of scores of a unit and a group
  static constexpr int kHalf = kVectors / 2;          // of them, of sixteen keys
  static constexpr int kParts = kRows / 4;            // of a sum of weights
  static constexpr int kSteps = kHalf / kParts;       // of the weights of a unit and a group
  static constexpr int kTouchAhead = 3;               // units between a first touch and the use
  // Of the time stamp, for the first two steps of a task, whose keys nobody has asked for before:
  // 1600 to 2000 with 4 rows and a cache of keys and values in the second level, 2600 and more in
  // the third. Changes speed, never results.
  static constexpr uint64_t kNearCycles = 2300;

  // What a group of rows has for itself.
  struct Rows {
    Group group;
    F32 scale, exponent_scale, logit_scale;
    F32 m, l;
  };

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

  // [kUnitKeys][kRows]
  float* scores_of(uint32_t unit, int group = 0) const {
    return scratch_.scores + ((unit & 1) * kGroups + group) * kUnitKeys * kRows;
  }

  void begin() {
    for (Rows& rows : rows_) {
      rows.m = task_.continues ? repeat_rows(rows.group.m) : broadcast(kMinusInfinity);
      rows.l = task_.continues ? repeat_rows(rows.group.l) : broadcast(0.0f);
    }
    values_.begin();
  }
  void end() const {
    for (const Rows& rows : rows_) {
      store(rows.group.m, rows.m);
      store(rows.group.l, rows.l);
    }
    values_.end();
  }

  // Whole tiles are taken from their pages piece by piece, the rest row by row.
  void attend_pieces() {
    SeenTile tile = SeenTile::none(task_.seen);
    for (int start = task_.key_begin; find_seen(task_, start, tile);) {
      start = tile.start + kTileKeys;
      if (tile.any == ~uint64_t{0}) {
        start = attend_whole(tile);
        continue;
      }
      Tile rows;
      set_tile(task_, tile, rows);
      attend(rows);
    }
  }
  // Of a tile that every row sees whole, with the tiles behind it of which that is plain. Returns
  // the key behind them.
  int attend_whole(const SeenTile& tile) {
    const bool whole = tile.is_uniform() && tile.first == 0 && tile.last == task_.num_rows;
    const int end =
        tile.start + (whole && task_.block_mask == nullptr ? seen_from(tile.start) : kTileKeys);
    for (int key = tile.start; key < end; key += kUnitKeys) {
      LinesAhead lines(task_);
      FewUnit& unit = units_[units_.entered];
      ask_ahead(key, unit, lines);
      unit.whole = whole;
      if (!whole) see_unit(tile, key - tile.start, unit);
      enter(unit, lines);
    }
    return end;
  }
  // Keys of whole tiles from `key` on, the first of which every row sees.
  int seen_from(int key) const {
    int end = task_.key_end;
    for (int row = 0; row < task_.num_rows; ++row) end = smaller(end, task_.visible_end[row]);
    return (end - key) / kTileKeys * kTileKeys;
  }

  // Finds a unit's rows. Asks for the keys of the next and the values that are used in the next
  // step, and touches the first lines of those behind.
  void ask_ahead(int key, FewUnit& unit, LinesAhead& lines) {
    const UnitRows* next = pieces_.ahead(key + kUnitKeys);
    if (next != nullptr) {
      lines.add(0, next->keys);
      touch(next->values);
    }
    if (const UnitRows* later = pieces_.ahead(key + kTouchAhead * kUnitKeys)) touch(later->keys);
    const UnitRows& rows = pieces_.at(key);
    for (int i = 0; i < 2; ++i) {
      unit.keys[i] = {rows.keys[i], task_.keys.token_stride};
      unit.values[i] = {rows.values[i], task_.values.token_stride};
    }
    if (Values::kAhead == 0) return lines.add(2, rows.values);
    if (units_.entered == 0) return;
    const TileRows(&values)[2] = units_[units_.entered - 1].values;
    const char* const pieces[2] = {values[0].first, values[1].first};
    lines.add(2, pieces);
  }
  // Where data are near, one line in four is enough.
  [[gnu::always_inline]] void ask(LinesAhead& lines, int part) const {
    is_near_ ? lines.ask<4>(part) : lines.ask<Values::kLinesApart>(part);
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
      LinesAhead none(task_);
      FewUnit& unit = units_[units_.entered];
      place(task_.keys, tile.keys + first, task_.head_dim, places_.keys(units_.entered), unit.keys);
      place(task_.values, tile.values + first, task_.head_dim_v, places_.values(units_.entered),
            unit.values);
      unit.whole = whole;
      if (!whole) see_unit(seen, first, unit);
      enter(unit, none);
    }
  }

  void see_unit(const SeenTile& tile, int first, FewUnit& unit) const {
    for (int r = 0; r < kGroups * kGroupRows; ++r) {
      const int row = r < task_.num_rows ? r : 0;
      const bool sees = row >= tile.first && row < tile.last;
      unit.words[r] = sees ? static_cast<uint32_t>(tile.words[row] >> first) : 0;
    }
  }

  void enter(const FewUnit& unit, LinesAhead& lines) {
    if (has_ends(task_.head_dim))
      copy_ends(unit.keys, task_.head_dim, places_.key_ends(units_.entered));
    values_.enter(unit, units_.entered);
    ++units_.entered;
    step(lines);
    if (units_.entered == 2) is_near_ = _rdtsc() - begun_ < kNearCycles;
  }

  // Finds out how tiles are loaded from a unit's rows, or copies them. pointers: [32]
  static void place(const PagedRows& rows, const char* const* pointers, int dim, char* copy,
                    TileRows (&to)[2]) {
    to[0] = rows_at(rows.token_stride, pointers, dim, copy);
    to[1] = rows_at(rows.token_stride, pointers + 16, dim, copy + chunks_of(dim) * kTileBytes);
  }

  void step(LinesAhead& lines) {
    const uint32_t weighed = units_.now - 1;
    if (units_.exists(weighed) && !(units_[weighed].whole && plain_))
      step<false>(lines);
    else
      step<true>(lines);
    ++units_.now;
  }

  // One step of the pipeline. kPlain: every row sees every key of the unit that is weighed.
  template <bool kPlain>
  void step(LinesAhead& lines) {
    const uint32_t unit = units_.now;
    const bool multiplies = units_.exists(unit), weighs = units_.exists(unit - 1);
    Weighing it;
    if (weighs) start<kPlain>(unit - 1, it);
    if (multiplies) clear_scores();
    typename Values::Step of_values = values_.begin_step(units_);
    int done = 0;
    for (int c = 0; c < chunks_; ++c) {
      if (multiplies && c < places_.chunks()) multiply_keys(unit, c);
      ask(lines, 0);
      values_.beside(units_, c, of_values);
      ask(lines, 1);
      values_.multiply(units_, c, of_values);
      ask(lines, 2);
      if (weighs)
        for (const int until = kGroups * kSteps * (c + 1) / chunks_; done < until; ++done)
          kGroups == 1 || done < kSteps ? weigh<kPlain, 0>(done, it)
                                        : weigh<kPlain, kGroups - 1>(done - kSteps, it);
      ask(lines, 3);
    }
    if (multiplies) store_scores(unit);
    values_.end_step(units_, of_values);
    if (!weighs) return;
    finish<kPlain>(0, it);
    if (kGroups > 1) finish<kPlain>(kGroups - 1, it);
  }

  static void clear_scores() {
    clear_tile<0>();
    clear_tile<1>();
    if (kGroups == 1) return;
    clear_tile<2>();
    clear_tile<3>();
  }
  void store_scores(uint32_t unit) const {
    store_tile<0>(scores_of(unit), kRows * 4);
    store_tile<1>(scores_of(unit) + 16 * kRows, kRows * 4);
    if (kGroups == 1) return;
    store_tile<2>(scores_of(unit, 1), kRows * 4);
    store_tile<3>(scores_of(unit, 1) + 16 * kRows, kRows * 4);
  }

  [[gnu::always_inline]] void multiply_keys(uint32_t number, int chunk) const {
    const FewUnit& unit = units_[number];
    const char* ends = places_.key_ends(number);
    const TileRows a = chunk_of(unit.keys[0], chunk, task_.head_dim, ends);
    const TileRows b = chunk_of(unit.keys[1], chunk, task_.head_dim, ends + kTileBytes);
    const char* queries = scratch_.queries + chunk * kTileBytes;
    if (kGroups == 1) {
      load_tile<2>(queries);
      load_tile<3>(a.first, a.stride);
      product<0, 3, 2>();
      load_tile<3>(b.first, b.stride);
      product<1, 3, 2>();
      return;
    }
    load_tile<4>(a.first, a.stride);
    load_tile<5>(queries);
    product<0, 4, 5>();
    load_tile<6>(b.first, b.stride);
    product<1, 6, 5>();
    load_tile<7>(queries + places_.chunks() * kTileBytes);
    product<2, 4, 7>();
    product<3, 6, 7>();
  }

  // The weights of a unit while they are computed.
  struct Weighing {
    uint32_t unit;
    __m512i words[kGroups];
    F32 shift[kGroups], part[kGroups][kParts];
    typename Values::Weights weights[kGroups];
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
  static __m512i words_of_lanes(const FewUnit& unit, int group) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i words =
        _mm512_permutexvar_epi32(_mm512_and_si512(lane, _mm512_set1_epi32(kRows - 1)),
                                 _mm512_load_si512(unit.words + group * kGroupRows));
    return _mm512_srlv_epi32(words, _mm512_srli_epi32(lane, kRows == 4 ? 2 : kRows == 8 ? 3 : 4));
  }

  template <bool kPlain>
  [[gnu::always_inline]] F32 logit(int group, const Weighing& it, int index) const {
    F32 s = load(scores_of(it.unit, group) + index * kWidth);
    if (kPlain) return s;
    if (!plain_) s = s * rows_[group].scale;
    return select(seen_in(it.words[group], index), s, broadcast(kMinusInfinity));
  }

  template <bool kPlain>
  [[gnu::noinline]] F32 largest(int group, const Weighing& it) const {
    F32 most = logit<kPlain>(group, it, 0);
    for (int i = 1; i < kVectors; ++i) most = max(logit<kPlain>(group, it, i), most);
    most = over_keys(most, [](F32 a, F32 b) { return max(a, b); });
    return most * rows_[group].logit_scale - broadcast(kHeadroom);
  }

  template <bool kPlain>
  [[gnu::always_inline]] void start(uint32_t number, Weighing& it) {
    it.unit = number;
    const FewUnit& unit = units_[number];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      if (!kPlain) it.words[g] = unit.whole ? _mm512_set1_epi32(-1) : words_of_lanes(unit, g);
      F32& m = rows_[g].m;
      const Lanes fresh = equal(m, broadcast(kMinusInfinity));
      if (__builtin_expect(fresh.bits != 0, false)) m = select(fresh, largest<kPlain>(g, it), m);
      reset(g, it);
    }
  }
  [[gnu::always_inline]] void reset(int group, Weighing& it) const {
    const F32 m = rows_[group].m;
    it.shift[group] =
        select(equal(m, broadcast(kMinusInfinity)), broadcast(0.0f), m * broadcast(kLog2E));
    for (F32& part : it.part[group]) part = broadcast(0.0f);
  }

  // The group is a constant, so that what it needs stays in registers.
  template <bool kPlain, int kGroup>
  [[gnu::always_inline]] void weigh(int step, Weighing& it) const {
    const F32 scale = rows_[kGroup].exponent_scale, shift = it.shift[kGroup];
#pragma GCC unroll 4
    for (int k = 0; k < kParts; ++k) {
      const int index = step * kParts + k;
      F32& part = it.part[kGroup][k];
      const F32 first = exp2(fms(logit<kPlain>(kGroup, it, index), scale, shift));
      part = part + first;
      const F32 second = exp2(fms(logit<kPlain>(kGroup, it, index + kHalf), scale, shift));
      part = part + second;
      it.weights[kGroup].put(index, first, second);
    }
  }

  [[gnu::always_inline]] static F32 sum_of(const F32 (&part)[kParts]) {
    if constexpr (kParts == 4) return (part[0] + part[1]) + (part[2] + part[3]);
    const auto add = [](F32 a, F32 b) { return a + b; };
    F32 sum = over_keys(part[0], add);
    if constexpr (kParts == 2) sum = sum + over_keys(part[1], add);
    return sum;
  }

  template <bool kPlain>
  [[gnu::always_inline]] void finish(int group, Weighing& it) {
    F32 sum = sum_of(it.part[group]);
    const Lanes rising = less(broadcast(kMostSum), sum);
    if (__builtin_expect(rising.bits != 0, false)) sum = raise<kPlain>(group, rising, it);
    rows_[group].l = rows_[group].l + sum;
    values_.store_weights(it.weights[group], it.unit, group);
  }

  // The maximum of some rows rises to that of the unit, and its weights are computed again.
  template <bool kPlain>
  [[gnu::noinline]] F32 raise(int group, Lanes rising, Weighing& it) {
    values_.complete(units_, it.unit);
    Rows& rows = rows_[group];
    const F32 before = rows.m, here = largest<kPlain>(group, it), log2e = broadcast(kLog2E);
    const Lanes both{static_cast<__mmask16>(rising.bits & less(before, here).bits)};
    rows.m = select(both, here, before);
    const F32 rescale = select(both, exp2(before * log2e - rows.m * log2e), broadcast(1.0f));
    rows.l = rows.l * rescale;
    float factors[kWidth];
    store(factors, rescale);
    values_.rescale(group, factors);
    reset(group, it);
    for (int i = 0; i < kSteps; ++i)
      group == 0 ? weigh<kPlain, 0>(i, it) : weigh<kPlain, kGroups - 1>(i, it);
    return sum_of(it.part[group]);
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const FewPlaces places_;
  Values values_;
  const int chunks_;
  uint64_t begun_ = 0;    // of the time stamp
  bool is_near_ = false;  // keys and values come from the second-level cache
  bool plain_;            // the products are the logits but for a factor, which joins the exponent
  Rows rows_[kGroups];
  FewUnits units_;
  Pieces pieces_;
};

inline bool serves_pipeline(const AttendTask& task) {
  return task.num_rows <= kMaxPipelineRows && task.key_element == kTileElement &&
         task.value_element == kTileElement && task.softcap == 0 && task.bias == Bias::none &&
         task.score.apply == nullptr;
}

// For tasks that serves_pipeline() admits.
inline void attend_in_pipeline(const AttendTask& task, const AmxScratch& scratch) {
  const bool in_place = task.num_rows <= 8 && !has_ends(task.head_dim_v);
  if (in_place && task.num_rows <= 4) return FewRows<4, ValuesInPlace<4>>(task, scratch).run();
  if (in_place) return FewRows<8, ValuesInPlace<8>>(task, scratch).run();
  if (task.num_rows <= 8) return FewRows<8, PairedValues<8, 1>>(task, scratch).run();
  if (task.num_rows <= 16) return FewRows<16, PairedValues<16, 1>>(task, scratch).run();
  FewRows<16, PairedValues<16, 2>>(task, scratch).run();
}

}  // namespace pagoda::cpu::PAGODA_ISA

// The same as attend_units of amx_many.inl.h over all units of a pass, one pair of groups after the
// other, with the products of one unit beside the softmax of another:
//
//     products of queries and keys    of unit u + 1     beside the weights of unit u, first group
//     products of weights and values  of units before   beside the weights of unit u, second group
//
// A product of tiles occupies its unit for 16 cycles, in which the vectors do half a step of the
// softmax. What else it takes, by measurement (docs/kernels/cpu-amx.md): a tile of sums is stored
// only just before its register is needed again, and keys and values bypass the first-level cache.
//
// When the weights of a unit turn out to raise a maximum, everything before the unit is finished,
// and its weights are computed again. So the operations of a row, and its bits, are the same.
#pragma once

#include "amx_many.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kBatchUnits = 4;  // whose weights meet the values at once
constexpr int kSteps = 16;      // of a group's softmax of a unit: keys j and 16 + j

// Where the four tiles of sums of the last products are to be stored.
struct Pending {
  float* to[4];
};

// The softmax of one group over one unit, step by step, in registers. kQuick: scores may still be
// products, of which logits are made on the way.
template <bool kQuick>
struct Steps {
  const float* scores;  // [32 keys][16 rows]
  char* weights;        // tile
  F32 scale, shift;
  F32 part[4];
  const QuickLogits* quick = nullptr;  // null: scores are logits
  F32 distance;                        // of the first key
  F32 most;                            // see QuickLogits

  Steps(const float* from, char* to, F32 exponent_scale, const Group& group)
      : scores(from), weights(to), scale(exponent_scale), shift(shift_of(group)) {
#pragma GCC unroll 4
    for (F32& it : part) it = broadcast(0.0f);
    if constexpr (kQuick) most = broadcast(0.0f);
  }

  template <int kKey>
  [[gnu::always_inline]] F32 exponent() {
    F32 s = load(scores + kKey * kGroupRows);
    if constexpr (kQuick)
      if (quick != nullptr) s = quick->logit(s, distance + broadcast(kKey), most);
    return fms(s, scale, shift);
  }

  F32 sum() const {
    return (part[0] + part[1]) + (part[2] + part[3]);
  }

  template <int kStep>
  [[gnu::always_inline]] void step() {
    const F32 p = exp2(exponent<kStep>()), q = exp2(exponent<16 + kStep>());
    part[kStep % 4] = (part[kStep % 4] + p) + q;
    _mm512_store_si512(weights + kStep * kTileRowBytes, rounded_pair(p, q));
  }
  // The same with step `begin`, a multiple of 4, as its first.
  Steps from(int begin) const {
    Steps it = *this;
    it.scores += begin * kGroupRows;
    it.weights += begin * kTileRowBytes;
    if constexpr (kQuick) it.distance = distance + broadcast(static_cast<float>(begin));
    return it;
  }
  void take(const Steps& done) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) part[i] = done.part[i];
    if constexpr (kQuick) most = done.most;
  }
  // Whether logits are not what they should be.
  bool is_far() const {
    return kQuick && less(broadcast(kMostNear), most).bits != 0;
  }
  // Steps [kBegin, kEnd).
  template <int kBegin, int kEnd>
  [[gnu::always_inline]] void run() {
    if constexpr (kBegin < kEnd) {
      step<kBegin>();
      run<kBegin + 1, kEnd>();
    }
  }
};

template <int kTile>
[[gnu::always_inline]] inline void store_pending(const Pending& pending) {
  store_tile<kTile>(pending.to[kTile]);
}

inline void store_all(const Pending& pending) {
  store_pending<0>(pending);
  store_pending<1>(pending);
  store_pending<2>(pending);
  store_pending<3>(pending);
}

// Products of a unit of keys with two groups of queries, beside all steps of another unit's group.
template <int kChunks, int kChunk = 0, class Steps>
[[gnu::always_inline]] inline void multiply_beside(const char* keys,
                                                   const char* const (&queries)[2],
                                                   const Pending& pending, Steps& steps) {
  if constexpr (kChunk < kChunks) {
    constexpr int kProducts = 4 * kChunks, kProduct = 4 * kChunk;
    constexpr auto at = [](int product) { return product * kSteps / kProducts; };
    stream_tile<4>(keys + kChunk * kTileBytes);
    load_tile<6>(queries[0] + kChunk * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<0>(pending);
      clear_tile<0>();
    }
    product<0, 4, 6>();
    steps.template run<at(kProduct), at(kProduct + 1)>();
    load_tile<7>(queries[1] + kChunk * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<1>(pending);
      clear_tile<1>();
    }
    product<1, 4, 7>();
    steps.template run<at(kProduct + 1), at(kProduct + 2)>();
    stream_tile<5>(keys + (kChunks + kChunk) * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<2>(pending);
      clear_tile<2>();
    }
    product<2, 5, 6>();
    steps.template run<at(kProduct + 2), at(kProduct + 3)>();
    if constexpr (kChunk == 0) {
      store_pending<3>(pending);
      clear_tile<3>();
    }
    product<3, 5, 7>();
    steps.template run<at(kProduct + 3), at(kProduct + 4)>();
    multiply_beside<kChunks, kChunk + 1>(keys, queries, pending, steps);
  }
}

// Units of one pair whose weights are there, to meet their values.
struct Batch {
  PairOfGroups* pair;
  int count = 0;
  int next_chunk = 0;  // of values; all before are done
  bool is_blank;       // the outputs are not there yet
  const char* values[kBatchUnits];
  const char* weights[2];  // [kBatchUnits] tiles of each group
  float* o[2];
};

// Products of kUnits units of a batch with a chunk of 32 columns of their values, beside kCount
// steps. o: of the chunk, of each group
template <int kUnits, int kCount, int kUnit = 0, class Steps>
[[gnu::always_inline]] inline void accumulate_units(const Batch& batch, int64_t offset,
                                                    float* const (&o)[2], const Pending& pending,
                                                    Steps& steps) {
  if constexpr (kUnit < kUnits) {
    constexpr auto at = [](int product) { return product * kCount / (4 * kUnits); };
    constexpr int kProduct = 4 * kUnit;
    const char* values = batch.values[kUnit] + offset;
    stream_tile<4>(values);
    load_tile<6>(batch.weights[0] + kUnit * kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<0>(pending);
      load_sums<0>(o[0], batch.is_blank);
    }
    product<0, 4, 6>();
    steps.template run<at(kProduct), at(kProduct + 1)>();
    load_tile<7>(batch.weights[1] + kUnit * kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<1>(pending);
      load_sums<1>(o[1], batch.is_blank);
    }
    product<1, 4, 7>();
    steps.template run<at(kProduct + 1), at(kProduct + 2)>();
    stream_tile<5>(values + kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<2>(pending);
      load_sums<2>(o[0] + 256, batch.is_blank);
    }
    product<2, 5, 6>();
    steps.template run<at(kProduct + 2), at(kProduct + 3)>();
    if constexpr (kUnit == 0) {
      store_pending<3>(pending);
      load_sums<3>(o[1] + 256, batch.is_blank);
    }
    product<3, 5, 7>();
    steps.template run<at(kProduct + 3), at(kProduct + 4)>();
    accumulate_units<kUnits, kCount, kUnit + 1>(batch, offset, o, pending, steps);
  }
}

// The next chunk of a batch of kUnits units, beside the steps [begin, begin + kCount).
template <int kUnits, int kCount, class Steps>
[[gnu::noinline]] void accumulate_beside(Batch& batch, Pending& pending, Steps& steps, int begin) {
  const int64_t chunk = batch.next_chunk++;
  float* const o[2] = {batch.o[0] + chunk * 512, batch.o[1] + chunk * 512};
  Steps some = steps.from(begin);
  accumulate_units<kUnits, kCount>(batch, chunk * 2 * kTileBytes, o, pending, some);
  steps.take(some);
  pending = {{o[0], o[1], o[0] + 256, o[1] + 256}};
}

template <int kCount, class Steps>
inline void accumulate_beside(Batch& batch, Pending& pending, Steps& steps, int begin) {
  static_assert(kBatchUnits == 4);
  switch (batch.count) {
    case 1:
      return accumulate_beside<1, kCount>(batch, pending, steps, begin);
    case 2:
      return accumulate_beside<2, kCount>(batch, pending, steps, begin);
    case 3:
      return accumulate_beside<3, kCount>(batch, pending, steps, begin);
    default:
      return accumulate_beside<4, kCount>(batch, pending, steps, begin);
  }
}

// A unit and a pair of groups.
struct PairUnit {
  const PackedTile* tile;
  PairOfGroups* pair;
  int unit;
  int left;        // units that the pair goes on for, this one included; a guess
  bool is_hidden;  // some row does not see all of it
  bool is_alone;   // cannot be taken into the stream
};

// The units that each pair of groups sees, one after the other.
class UnitStream {
 public:
  UnitStream(const AttendTask& task, const AmxScratch& scratch, const Pass& pass)
      : task_(task),
        scratch_(scratch),
        pass_(pass),
        pairs_{{task, scratch, 0}, {task, scratch, 0}} {
    begin_pair();
  }

  // What it gave before stays valid for one more call.
  bool next(PairUnit& to) {
    while (unit_ == units_)
      if (!next_tile()) return false;
    const PackedTile& tile = pass_.tiles[tile_ - 1];
    constexpr uint64_t kAll = (uint64_t{1} << kUnitKeys) - 1;
    const int first = unit_ * kUnitKeys;
    const bool is_hidden = (seen_.all >> first & kAll) != kAll;
    to = {&tile, &pairs_[place_], unit_++, left(tile, first), is_hidden, is_alone_};
    is_given_ = true;
    return true;
  }

 private:
  int first_row() const { return pairs_[place_].group[0].first; }
  int last_row() const { return smaller(first_row() + kPairRows, task_.num_rows) - 1; }

  void begin_pair() {
    if (pass_.is_first) clear(pairs_[place_]);
    is_given_ = false;
  }

  bool next_pair() {
    if (!is_given_) write_blank(task_, pairs_[place_]);
    tile_ = 0;
    row_ += kPairRows;
    if (row_ >= task_.num_rows) return false;
    if (is_given_) place_ ^= 1;  // a pair that was given stays for one more
    pairs_[place_] = PairOfGroups(task_, scratch_, row_);
    begin_pair();
    return true;
  }

  bool next_tile() {
    if (tile_ == pass_.count && !next_pair()) return false;
    const PackedTile& tile = pass_.tiles[tile_++];
    unit_ = units_ = 0;
    seen_ = see(tile);
    if (seen_.any == 0) return true;
    unit_ = __builtin_ctzll(seen_.any) / kUnitKeys;
    units_ = units_of(kTileKeys - __builtin_clzll(seen_.any));
    is_alone_ = !tile.finite && seen_.all != tile.any;
    return true;
  }

  // Of ranges, whose ends never fall from row to row, what lies between those of different rows
  // counts as seen: there all weights are 0.
  PairSeen see(const PackedTile& tile) const {
    const int first = first_row(), last = last_row();
    const auto between = [&](int begin, int end) {
      return seen_between(larger(task_.visible_begin[begin] - tile.start, 0),
                          smaller(task_.visible_end[end] - tile.start, kTileKeys));
    };
    PairSeen seen{between(first, last), between(last, first)};
    if (tile.halves == nullptr || seen.any == 0) return seen;
    for (int half = 0; half < 2; ++half) {
      const PairSeen shown = see_half(task_, tile, pairs_[place_], half);
      const uint64_t other = half == 0 ? ~uint64_t{0} << kUnitKeys : ~uint32_t{0};
      seen.any &= shown.any << half * kUnitKeys | other;
      seen.all &= shown.all << half * kUnitKeys | other;
    }
    return seen;
  }

  int left(const PackedTile& tile, int first) const {
    if (tile.halves != nullptr) return left_of_lists();
    const int end =
        smaller(task_.visible_end[last_row()], pass_.tiles[pass_.count - 1].start + kTileKeys);
    return larger(1, units_of(end - tile.start - first));
  }

  // Up to a batch of them.
  int left_of_lists() const {
    const int list = pairs_[place_].list;
    int units = units_ - unit_ + 1;
    for (int i = tile_; list >= 0 && i < pass_.count && units < kBatchUnits; ++i) {
      const int32_t* halves = pass_.tiles[i].halves;
      for (int half = 0; half < 2; ++half)
        units += halves == nullptr || halves[2 * list + half] != kShowsNone;
    }
    return list < 0 ? kBatchUnits : units;
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const Pass& pass_;
  PairOfGroups pairs_[2];
  int place_ = 0;
  bool is_given_ = false;
  int row_ = 0, tile_ = 0, unit_ = 0, units_ = 0;
  PairSeen seen_{};
  bool is_alone_ = false;
};

template <int kChunks, bool kQuick>
class Run {
  using Steps = PAGODA_ISA::Steps<kQuick>;

 public:
  Run(const AttendTask& task, const Logits& logits, const AmxScratch& scratch)
      : task_(task), logits_(logits), scratch_(scratch), chunks_v_(chunks_of(task.head_dim_v)) {
    drop_pending();
    for (int g = 0; g < 2; ++g) {
      done_.weights[g] = scratch.weights + g * kBatchUnits * kTileBytes;
      open_.weights[g] = scratch.weights + (2 + g) * kBatchUnits * kTileBytes;
    }
  }

  void attend(UnitStream& stream) {
    PairUnit unit{}, next{};
    bool is_multiplied = false;
    for (bool found = stream.next(unit); found; unit = next) {
      found = stream.next(next);
      if (unit.is_alone) {
        finish_all();
        redo(unit);
        continue;
      }
      if (!is_multiplied) multiply(unit);
      is_multiplied = found && !next.is_alone;
      attend_beside(unit, is_multiplied ? &next : nullptr);
      parity_ ^= 1;
      if (open_.count > 0 && (!found || next.pair != unit.pair || open_.count == kBatchUnits))
        close_batch();
    }
    finish_all();
  }

 private:
  float* scores(int ahead, int g) const {
    return scratch_.run_scores + ((parity_ ^ ahead) * 2 + g) * (kUnitKeys * kGroupRows);
  }
  static const char* keys_of(const PairUnit& it) {
    return it.tile->keys + int64_t{it.unit} * 2 * kChunks * kTileBytes;
  }
  void drop_pending() {
    for (int i = 0; i < 4; ++i) pending_.to[i] = scratch_.sums + i * 256;
  }
  void flush() {
    store_all(pending_);
    drop_pending();
  }

  void redo(const PairUnit& it) {
    write_blank(task_, *it.pair);
    attend_units(task_, logits_, scratch_, *it.tile, *it.pair, it.unit, it.unit + 1);
  }

  void multiply(const PairUnit& it) {
    flush();
    multiply_unit(keys_of(it), it.pair->queries, kChunks, {scores(0, 0), scores(0, 1)});
    prepare(it, 0);
  }

  // A unit whose logits are there, beside the products of the next one.
  void attend_beside(const PairUnit& it, const PairUnit* next) {
    const Group(&group)[2] = it.pair->group;
    for (int g = 0; g < 2; ++g)
      start_rows(task_, group[g], logits_.logit_scale(group[g].first), first_key(it), scores(0, g));
    if (!is_product_[parity_] && is_planned(task_, first_key(it))) plan(it);
    if constexpr (kQuick) take_up(*it.pair);
    is_far_ = false;
    F32 first = first_group(it, next), second = second_group(it);
    if (next != nullptr) prepare(*next, 1);
    if (is_far_) {
      shape(it, 0);
      first = again(it, 0);
      second = again(it, 1);
    }
    if ((rising_rows(first).bits | rising_rows(second).bits) != 0) {
      finish_all();
      if (is_product_[parity_]) shape(it, 0);
      first = start_over(it, 0, first);
      second = start_over(it, 1, second);
    }
    store(group[0].l, load(group[0].l) + first);
    store(group[1].l, load(group[1].l) + second);
    open_.pair = it.pair;
    open_.values[open_.count++] = it.tile->values + int64_t{it.unit} * chunks_v_ * 2 * kTileBytes;
    for (int g = 0; g < 2; ++g) open_.o[g] = group[g].o;
  }

  // The softmax of a unit again, after everything before it and with the maxima that it raises.
  F32 start_over(const PairUnit& it, int g, F32 sum) {
    const Group& group = it.pair->group[g];
    const Lanes rising = rising_rows(sum);
    if (rising.bits != 0) {
      const F32 scale = logits_.logit_scale(group.first);
      const F32 factor = raise_maximum(task_, group, rising, scale, first_key(it), scores(0, g));
      if (!it.pair->is_blank) rescale_columns(factor, chunks_v_, group.o);
    }
    return again(it, g);
  }

  F32 again(const PairUnit& it, int g) {
    Steps steps = steps_of(it, g);
    steps.template run<0, kSteps>();
    return sum_of(steps);
  }

  F32 sum_of(const Steps& steps) {
    is_far_ |= steps.is_far();
    return steps.sum();
  }

  // The maxima rise that are known to do so soon, before the unit.
  void plan(const PairUnit& it) {
    for (int g = 0; g < 2; ++g) {
      const Group& group = it.pair->group[g];
      F32 factor;
      if (!plan_rise(task_, group, first_key(it), scores(0, g), factor)) continue;
      finish_all();
      if (!it.pair->is_blank) rescale_columns(factor, chunks_v_, group.o);
    }
  }

  // The polynomial of a soft-cap may fall by a rounding where its argument grows.
  static constexpr float kMargin = 0x1p-4f;
  // Taken without quick logits after one that was not right: the next are likely to be likewise.
  static constexpr int kSlowUnits = 16;

  static int first_key(const PairUnit& it) { return it.tile->start + it.unit * kUnitKeys; }

  [[gnu::always_inline]] Steps steps_of(const PairUnit& it, int g) const {
    const Group& group = it.pair->group[g];
    Steps steps(scores(0, g), const_cast<char*>(open_.weights[g]) + open_.count * kTileBytes,
                logits_.exponent_scale(group.first), group);
    if constexpr (kQuick) {
      if (is_product_[parity_]) steps.quick = &quick_[g];
      steps.distance = quick_[g].distance(first_key(it));
    }
    return steps;
  }

  [[gnu::always_inline]] F32 first_group(const PairUnit& it, const PairUnit* next) {
    Steps steps = steps_of(it, 0);
    if (next == nullptr) {
      steps.template run<0, kSteps>();
      return sum_of(steps);
    }
    multiply_beside<kChunks>(keys_of(*next), next->pair->queries, pending_, steps);
    pending_ = {{scores(1, 0), scores(1, 1), scores(1, 0) + 256, scores(1, 1) + 256}};
    return sum_of(steps);
  }

  // The steps of the second group, beside the share of the batch before that lets it end before
  // the next one is there.
  [[gnu::always_inline]] F32 second_group(const PairUnit& it) {
    Steps steps = steps_of(it, 1);
    const int left = done_.count > 0 ? chunks_v_ - done_.next_chunk : 0;
    const int units = smaller(it.left, kBatchUnits - open_.count);
    const int chunks = (left + units - 1) / units;
    if (chunks == 0) {
      flush();
      steps.template run<0, kSteps>();
    } else if (chunks == 1) {
      accumulate_beside<kSteps>(done_, pending_, steps, 0);
    } else {
      const int half = kSteps / 2;
      accumulate_beside<half>(done_, pending_, steps, 0);
      if (chunks == 2) {
        accumulate_beside<half>(done_, pending_, steps, half);
      } else {
        accumulate_beside<half / 2>(done_, pending_, steps, half);
        accumulate_beside<half / 2>(done_, pending_, steps, half + half / 2);
      }
    }
    return sum_of(steps);
  }

  // Makes logits of the products of a unit unless the steps can do so, and hides what rows do not
  // see.
  void prepare(const PairUnit& it, int ahead) {
    bool& is_product = is_product_[parity_ ^ ahead];
    if (is_far_) slow_units_ = kSlowUnits;
    is_product = kQuick && slow_units_ == 0 && !it.is_hidden && !needs_logits(it, ahead);
    if (slow_units_ > 0) --slow_units_;
    if (!is_product && (it.is_hidden || !logits_.plain)) shape(it, ahead);
  }

  void take_up(const PairOfGroups& pair) {
    if (quick_row_ == pair.group[0].first) return;
    quick_row_ = pair.group[0].first;
    for (int g = 0; g < 2; ++g) quick_[g] = QuickLogits(logits_, pair.group[g]);
  }

  // Whether m of a row is going to be set before the unit's weights are computed.
  bool needs_logits(const PairUnit& it, int ahead) {
    const Group(&group)[2] = it.pair->group;
    if ((fresh_rows(group[0]).bits | fresh_rows(group[1]).bits) != 0) return true;
    const int first = first_key(it), last = first + kUnitKeys - 1;
    if (!is_planned(task_, first)) return false;
    flush();
    take_up(*it.pair);
    unsigned rows = 0;
    for (int g = 0; g < 2; ++g) {
      const F32 most = largest_of(scores(ahead, g));
      F32 size = broadcast(0.0f);
      const F32 bound = max(quick_[g].logit(most, quick_[g].distance(first), size),
                            quick_[g].logit(most, quick_[g].distance(last), size));
      rows |= planned_rows(task_, group[g], first, bound + broadcast(kMargin)).bits;
      rows |= less(broadcast(kMostNear), size).bits;
    }
    return rows != 0;
  }

  void shape(const PairUnit& it, int ahead) {
    flush();
    is_product_[parity_ ^ ahead] = false;
    for (int g = 0; g < 2; ++g) {
      const Group& group = it.pair->group[g];
      if (!logits_.plain)
        make_logits(logits_, group, {nullptr, nullptr}, first_key(it), 1, scores(ahead, g));
    }
    if (it.is_hidden) hide(it, ahead);
  }

  void hide(const PairUnit& it, int ahead) {
    const int first = it.tile->start + it.unit * kUnitKeys;
    for (int g = 0; g < 2; ++g) {
      const Group& group = it.pair->group[it.pair->group[g].rows > 0 ? g : 0];
      const RangeLanes range(task_, group.first, group.rows);
      if (it.tile->halves == nullptr) {
        PAGODA_ISA::hide(range, first, scores(ahead, g));
        continue;
      }
      const ListLanes lists{*task_.block_mask, it.pair->list, group.first, group.rows};
      const __m512i shown = lists.words(it.tile->halves, it.unit);
      PAGODA_ISA::hide(_mm512_and_si512(range.words(first), shown), scores(ahead, g));
    }
  }

  void close_batch() {
    finish(done_);
    const Batch free = done_;
    seal(open_);
    done_ = open_;
    open_ = free;
    open_.count = open_.next_chunk = 0;
  }

  // No units are added to it any more. Whatever comes next for its pair finds outputs.
  static void seal(Batch& batch) {
    batch.is_blank = batch.pair->is_blank;
    batch.pair->is_blank = false;
  }

  // What is left of a batch, alone.
  void finish(Batch& batch) {
    if (batch.count == 0 || batch.next_chunk == chunks_v_) return;
    flush();
    for (int c = batch.next_chunk; c < chunks_v_; ++c)
      accumulate_chunk(batch.values, int64_t{c} * 2 * kTileBytes, batch.weights, batch.count,
                       {batch.o[0] + c * 512, batch.o[1] + c * 512}, batch.is_blank);
    batch.next_chunk = chunks_v_;
  }

  void finish_all() {
    flush();
    finish(done_);
    if (open_.count > 0) seal(open_);
    finish(open_);
    done_.count = open_.count = open_.next_chunk = 0;
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const int chunks_v_;
  int parity_ = 0;           // of the scores' two places
  bool is_product_[2] = {};  // which are not logits yet
  QuickLogits quick_[2];     // of the pair that begins with quick_row_
  int quick_row_ = -1;
  bool is_far_ = false;  // a quick logit of the unit was not right
  int slow_units_ = 0;   // to come
  Pending pending_;
  Batch done_, open_;
};

// The stream takes what it has code for: other widths, and what is computed row by row, are done
// alone.
inline bool can_run(const AttendTask& task) {
  const int chunks = chunks_of(task.head_dim);
  return (chunks == 2 || chunks == 3 || chunks == 4 || chunks == 6 || chunks == 8) &&
         chunks_of(task.head_dim_v) <= 8 &&
         (task.score.apply == nullptr || task.score.steps != nullptr) &&
         task.keys.scales == nullptr && task.values.scales == nullptr;
}

template <bool kQuick>
inline void attend_stream(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                          const Pass& pass) {
  UnitStream stream(task, scratch, pass);
  switch (chunks_of(task.head_dim)) {
    case 2:
      return Run<2, kQuick>(task, logits, scratch).attend(stream);
    case 3:
      return Run<3, kQuick>(task, logits, scratch).attend(stream);
    case 4:
      return Run<4, kQuick>(task, logits, scratch).attend(stream);
    case 6:
      return Run<6, kQuick>(task, logits, scratch).attend(stream);
    default:
      return Run<8, kQuick>(task, logits, scratch).attend(stream);
  }
}

inline void attend_pass(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                        const Pass& pass) {
  if (!can_run(task)) {
    for (int row = 0; row < task.num_rows; row += kPairRows) {
      const PairOfGroups pair(task, scratch, row);
      if (pass.is_first)
        for (const Group& group : pair.group)
          if (group.rows > 0) clear(task, group);
      for (int i = 0; i < pass.count; ++i)
        attend_units(task, logits, scratch, pass.tiles[i], pair, 0, pass.tiles[i].units);
    }
    return;
  }
  logits.quick ? attend_stream<true>(task, logits, scratch, pass)
               : attend_stream<false>(task, logits, scratch, pass);
}

inline void attend_many(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task, scratch.query_units);
  for (int i = 0; i < 2 * chunks_of(task.head_dim_v) * kTileBytes; i += kTileRowBytes)
    _mm512_store_si512(const_cast<char*>(scratch.zeros) + i, _mm512_setzero_si512());
  Pass pass;
  Tile tiles[2];
  int current = 0;
  TileStream stream(task);
  bool found = stream.next(task.key_begin, tiles[current]);
  if (!found && !task.continues) clear(task);
  for (pass.is_first = !task.continues; found; pass.is_first = false) {
    for (pass.count = 0; found && pass.count < kPassTiles; ++pass.count) {
      Tile& tile = tiles[current];
      Tile& next = tiles[1 - current];
      found = stream.next(tile.start + kTileKeys, next);
      pack_tile(task, scratch, tile, pass.count, found ? &next : nullptr, pass.tiles[pass.count]);
      current = 1 - current;
    }
    attend_pass(task, logits, scratch, pass);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

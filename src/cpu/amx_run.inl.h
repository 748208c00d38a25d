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

// The softmax of one group over one unit, step by step, in registers.
struct Steps {
  const float* scores;  // [32 keys][16 rows]
  char* weights;        // tile
  F32 scale, shift;
  F32 part[4];

  Steps(const float* from, char* to, F32 exponent_scale, const Group& group)
      : scores(from), weights(to), scale(exponent_scale), shift(shift_of(group)) {
#pragma GCC unroll 4
    for (F32& it : part) it = broadcast(0.0f);
  }

  F32 sum() const {
    return (part[0] + part[1]) + (part[2] + part[3]);
  }

  template <int kStep>
  [[gnu::always_inline]] void step() {
    const F32 a = load(scores + kStep * kGroupRows), b = load(scores + (16 + kStep) * kGroupRows);
    const F32 p = exp2(fms(a, scale, shift)), q = exp2(fms(b, scale, shift));
    part[kStep % 4] = (part[kStep % 4] + p) + q;
    _mm512_store_si512(weights + kStep * kTileRowBytes, rounded_pair(p, q));
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
template <int kChunks, int kChunk = 0>
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
    steps.run<at(kProduct), at(kProduct + 1)>();
    load_tile<7>(queries[1] + kChunk * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<1>(pending);
      clear_tile<1>();
    }
    product<1, 4, 7>();
    steps.run<at(kProduct + 1), at(kProduct + 2)>();
    stream_tile<5>(keys + (kChunks + kChunk) * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<2>(pending);
      clear_tile<2>();
    }
    product<2, 5, 6>();
    steps.run<at(kProduct + 2), at(kProduct + 3)>();
    if constexpr (kChunk == 0) {
      store_pending<3>(pending);
      clear_tile<3>();
    }
    product<3, 5, 7>();
    steps.run<at(kProduct + 3), at(kProduct + 4)>();
    multiply_beside<kChunks, kChunk + 1>(keys, queries, pending, steps);
  }
}

// Products of a whole batch's weights with a chunk of 32 columns of its values, beside the steps
// [kBegin, kEnd). values: of the first unit and chunk, the next units `stride` bytes on; weights:
// of the first unit of each group; o: of the chunk, of each group
template <int kBegin, int kEnd, int kUnit = 0>
[[gnu::always_inline]] inline void accumulate_beside(const char* const* values,
                                                     const char* const (&weights)[2],
                                                     float* const (&o)[2], const Pending& pending,
                                                     Steps& steps) {
  if constexpr (kUnit < kBatchUnits) {
    constexpr auto at = [](int product) {
      return kBegin + product * (kEnd - kBegin) / (4 * kBatchUnits);
    };
    constexpr int kProduct = 4 * kUnit;
    stream_tile<4>(values[kUnit]);
    load_tile<6>(weights[0] + kUnit * kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<0>(pending);
      load_tile<0>(o[0]);
    }
    product<0, 4, 6>();
    steps.run<at(kProduct), at(kProduct + 1)>();
    load_tile<7>(weights[1] + kUnit * kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<1>(pending);
      load_tile<1>(o[1]);
    }
    product<1, 4, 7>();
    steps.run<at(kProduct + 1), at(kProduct + 2)>();
    stream_tile<5>(values[kUnit] + kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<2>(pending);
      load_tile<2>(o[0] + 256);
    }
    product<2, 5, 6>();
    steps.run<at(kProduct + 2), at(kProduct + 3)>();
    if constexpr (kUnit == 0) {
      store_pending<3>(pending);
      load_tile<3>(o[1] + 256);
    }
    product<3, 5, 7>();
    steps.run<at(kProduct + 3), at(kProduct + 4)>();
    accumulate_beside<kBegin, kEnd, kUnit + 1>(values, weights, o, pending, steps);
  }
}

// A unit and a pair of groups.
struct PairUnit {
  const PackedTile* tile;
  const PairOfGroups* pair;
  int unit;
  bool is_shaped;  // the products are not yet the logits, or some are hidden
  bool is_alone;   // cannot be taken into the stream
};

// The units that each pair of groups sees, one after the other.
class UnitStream {
 public:
  UnitStream(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
             const Pass& pass)
      : task_(task),
        logits_(logits),
        scratch_(scratch),
        pass_(pass),
        pairs_{{task, scratch, 0}, {task, scratch, 0}} {
    if (pass.is_first) clear(task, pairs_[0]);
  }

  // What it gave before stays valid for one more call.
  bool next(PairUnit& to) {
    while (unit_ == units_)
      if (!next_tile()) return false;
    const PackedTile& tile = pass_.tiles[tile_ - 1];
    to = {&tile, &pairs_[place_], unit_++, is_shaped_, is_alone_};
    is_given_ = true;
    return true;
  }

 private:
  bool next_tile() {
    if (tile_ == pass_.count) {
      tile_ = 0;
      row_ += kPairRows;
      if (row_ >= task_.num_rows) return false;
      if (is_given_) place_ ^= 1;  // a pair that was given stays for one more
      is_given_ = false;
      pairs_[place_] = PairOfGroups(task_, scratch_, row_);
      if (pass_.is_first) clear(task_, pairs_[place_]);
    }
    const PackedTile& tile = pass_.tiles[tile_++];
    unit_ = units_ = 0;
    const PairSeen seen = see(tile, pairs_[place_]);
    if (seen.any == 0) return true;
    unit_ = __builtin_ctzll(seen.any) / kUnitKeys;
    units_ = units_of(kTileKeys - __builtin_clzll(seen.any));
    is_shaped_ = !logits_.plain || seen.all != ~uint64_t{0};
    is_alone_ = !tile.finite && seen.all != tile.any;
    return true;
  }

  struct PairSeen {
    uint64_t any, all;
  };
  PairSeen see(const PackedTile& tile, const PairOfGroups& pair) const {
    const int first = pair.group[0].first;
    const int last = smaller(first + kPairRows, task_.num_rows) - 1;
    if (tile.words == nullptr && task_.visible_begin[last] <= tile.start &&
        task_.visible_end[first] >= tile.start + kTileKeys)
      return {~uint64_t{0}, ~uint64_t{0}};
    if (tile.words == nullptr && task_.visible_end[last] <= tile.start) return {0, 0};
    Seen seen[2];
    see_both(task_, tile, pair, seen);
    return {seen[0].any | seen[1].any, seen[0].all & seen[1].all};
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const Pass& pass_;
  PairOfGroups pairs_[2];
  int place_ = 0;
  bool is_given_ = false;
  int row_ = 0, tile_ = 0, unit_ = 0, units_ = 0;
  bool is_shaped_ = false, is_alone_ = false;
};

// Units of one pair whose weights are there, to meet their values.
struct Batch {
  int count = 0;
  int next_chunk = 0;  // of values; all before are done
  const char* values[kBatchUnits];
  const char* weights[2];  // [kBatchUnits] tiles of each group
  float* o[2];
};

template <int kChunks>
class Run {
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
    attend_units(task_, logits_, scratch_, *it.tile, *it.pair, it.unit, it.unit + 1);
  }

  void multiply(const PairUnit& it) {
    flush();
    multiply_unit(keys_of(it), it.pair->queries, kChunks, {scores(0, 0), scores(0, 1)});
    if (it.is_shaped) shape(it, 0);
  }

  // A unit whose logits are there, beside the products of the next one.
  void attend_beside(const PairUnit& it, const PairUnit* next) {
    const Group(&group)[2] = it.pair->group;
    for (int g = 0; g < 2; ++g)
      start_rows(group[g], logits_.logit_scale(group[g].first), scores(0, g));
    F32 first = first_group(it, next), second = second_group(it);
    if (next != nullptr && next->is_shaped) shape(*next, 1);
    if ((rising_rows(first).bits | rising_rows(second).bits) != 0) {
      finish_all();
      first = start_over(it, 0, first);
      second = start_over(it, 1, second);
    }
    store(group[0].l, load(group[0].l) + first);
    store(group[1].l, load(group[1].l) + second);
    open_.values[open_.count++] = it.tile->values + int64_t{it.unit} * chunks_v_ * 2 * kTileBytes;
    for (int g = 0; g < 2; ++g) open_.o[g] = group[g].o;
  }

  // The softmax of a unit again, after everything before it and with the maxima that it raises.
  F32 start_over(const PairUnit& it, int g, F32 sum) {
    const Group& group = it.pair->group[g];
    const Lanes rising = rising_rows(sum);
    if (rising.bits != 0)
      rescale_columns(raise_maximum(group, rising, logits_.logit_scale(group.first), scores(0, g)),
                      chunks_v_, group.o);
    Steps steps = steps_of(it, g);
    steps.template run<0, kSteps>();
    return steps.sum();
  }

  [[gnu::always_inline]] Steps steps_of(const PairUnit& it, int g) const {
    return {scores(0, g), const_cast<char*>(open_.weights[g]) + open_.count * kTileBytes,
            logits_.exponent_scale(it.pair->group[g].first), it.pair->group[g]};
  }

  [[gnu::always_inline]] F32 first_group(const PairUnit& it, const PairUnit* next) {
    Steps steps = steps_of(it, 0);
    if (next == nullptr) {
      steps.template run<0, kSteps>();
      return steps.sum();
    }
    multiply_beside<kChunks>(keys_of(*next), next->pair->queries, pending_, steps);
    pending_ = {{scores(1, 0), scores(1, 1), scores(1, 0) + 256, scores(1, 1) + 256}};
    return steps.sum();
  }

  // The steps of the second group, beside a share of the products of the batch before.
  [[gnu::always_inline]] F32 second_group(const PairUnit& it) {
    Steps steps = steps_of(it, 1);
    const int left = done_.count > 0 ? chunks_v_ - done_.next_chunk : 0;
    if (left == 0) {
      flush();
      steps.template run<0, kSteps>();
    } else if (chunks_v_ <= kBatchUnits || left == 1) {
      chunk_beside<0, kSteps>(steps);
    } else {
      chunk_beside<0, kSteps / 2>(steps);
      chunk_beside<kSteps / 2, kSteps>(steps);
    }
    return steps.sum();
  }

  template <int kBegin, int kEnd>
  [[gnu::always_inline]] void chunk_beside(Steps& steps) {
    const int64_t c = done_.next_chunk++;
    const char* values[kBatchUnits];
    for (int i = 0; i < kBatchUnits; ++i) values[i] = done_.values[i] + c * 2 * kTileBytes;
    float* const o[2] = {done_.o[0] + c * 512, done_.o[1] + c * 512};
    accumulate_beside<kBegin, kEnd>(values, done_.weights, o, pending_, steps);
    pending_ = {{o[0], o[1], o[0] + 256, o[1] + 256}};
  }

  // Makes logits of the products of a unit and hides what rows do not see.
  void shape(const PairUnit& it, int ahead) {
    flush();
    Seen seen[2];
    see_both(task_, *it.tile, *it.pair, seen);
    for (int g = 0; g < 2; ++g) {
      const Group& group = it.pair->group[g];
      const int first = it.unit * kUnitKeys;
      if (!logits_.plain && group.rows > 0)
        make_logits(logits_, group, {nullptr, nullptr}, it.tile->start + first, 1,
                    scores(ahead, g));
      hide(seen[g], first, kUnitKeys, scores(ahead, g));
    }
  }

  // Places without a unit take part with weights and values of 0.
  void close_batch() {
    finish(done_);
    for (; open_.count < kBatchUnits; ++open_.count) {
      open_.values[open_.count] = scratch_.zeros;
      for (int g = 0; g < 2; ++g)
        for (int i = 0; i < 16; ++i)
          _mm512_store_si512(
              const_cast<char*>(open_.weights[g]) + open_.count * kTileBytes + i * kTileRowBytes,
              _mm512_setzero_si512());
    }
    const Batch free = done_;
    done_ = open_;
    open_ = free;
    open_.count = open_.next_chunk = 0;
  }

  // What is left of a batch, alone.
  void finish(Batch& batch) {
    if (batch.count == 0 || batch.next_chunk == chunks_v_) return;
    flush();
    for (int c = batch.next_chunk; c < chunks_v_; ++c)
      accumulate_chunk(batch.values, int64_t{c} * 2 * kTileBytes, batch.weights, batch.count,
                       {batch.o[0] + c * 512, batch.o[1] + c * 512});
    batch.next_chunk = chunks_v_;
  }

  void finish_all() {
    flush();
    finish(done_);
    finish(open_);
    done_.count = open_.count = open_.next_chunk = 0;
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const int chunks_v_;
  int parity_ = 0;  // of the scores' two places
  Pending pending_;
  Batch done_, open_;
};

// The stream takes what it has code for: other widths, and what is computed row by row, are done
// alone.
inline bool can_run(const AttendTask& task) {
  const int chunks = chunks_of(task.head_dim);
  return (chunks == 2 || chunks == 3 || chunks == 4 || chunks == 6 || chunks == 8) &&
         chunks_of(task.head_dim_v) <= 8 && task.score.apply == nullptr &&
         task.keys.scales == nullptr && task.values.scales == nullptr;
}

inline void attend_pass(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                        const Pass& pass) {
  if (!can_run(task)) {
    for (int row = 0; row < task.num_rows; row += kPairRows) {
      const PairOfGroups pair(task, scratch, row);
      if (pass.is_first) clear(task, pair);
      for (int i = 0; i < pass.count; ++i)
        attend_units(task, logits, scratch, pass.tiles[i], pair, 0, pass.tiles[i].units);
    }
    return;
  }
  UnitStream stream(task, logits, scratch, pass);
  switch (chunks_of(task.head_dim)) {
    case 2:
      return Run<2>(task, logits, scratch).attend(stream);
    case 3:
      return Run<3>(task, logits, scratch).attend(stream);
    case 4:
      return Run<4>(task, logits, scratch).attend(stream);
    case 6:
      return Run<6>(task, logits, scratch).attend(stream);
    default:
      return Run<8>(task, logits, scratch).attend(stream);
  }
}

// The same as find_tile, but takes all keys between the first and the last that a row sees for seen
// where the rows see ranges: no mask hides a part of them. Then no words are needed.
inline bool next_tile(const AttendTask& task, int start, SeenTile from, Tile& tile) {
  if (task.block_mask != nullptr) {
    start = next_listed(task, start);
    const bool touches = start < task.key_end && task.visible_begin[0] < start + kTileKeys &&
                         task.visible_end[task.num_rows - 1] > start;
    tile.by_range = touches && shows_all(*task.block_mask);
    if (!tile.by_range) return find_tile(task, start, from, tile);
  }
  tile.by_range = true;
  const int begin = larger(task.visible_begin[0], start);
  const int end = task.visible_end[task.num_rows - 1];
  if (begin >= end || begin >= task.key_end) return false;
  from.start = begin / kTileKeys * kTileKeys;
  from.first = 0;
  from.last = task.num_rows;
  from.any = seen_between(larger(task.visible_begin[0] - from.start, 0),
                          smaller(smaller(end, task.key_end) - from.start, kTileKeys));
  set_tile(task, from, tile);
  return true;
}

inline void attend_many(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task, scratch.query_units);
  for (int i = 0; i < 2 * chunks_of(task.head_dim_v) * kTileBytes; i += kTileRowBytes)
    _mm512_store_si512(const_cast<char*>(scratch.zeros) + i, _mm512_setzero_si512());
  Pass pass;
  Tile tiles[2];
  int current = 0;
  bool found = next_tile(task, task.key_begin, SeenTile::none(task.seen), tiles[current]);
  if (!found && !task.continues) clear(task);
  for (pass.is_first = !task.continues; found; pass.is_first = false) {
    for (pass.count = 0; found && pass.count < kPassTiles; ++pass.count) {
      Tile& tile = tiles[current];
      Tile& next = tiles[1 - current];
      uint64_t* words = task.seen + static_cast<int64_t>(1 - current) * task.num_rows;
      found = next_tile(task, tile.start + kTileKeys, tile.seen.with(words), next);
      PackedTile& packed = pass.tiles[pass.count];
      packed.words = nullptr;
      pack_tile(task, scratch, tile, pass.count, found ? &next : nullptr, packed);
      current = 1 - current;
    }
    attend_pass(task, logits, scratch, pass);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

// The same as attend_pair of amx_many.inl.h over a run of tiles, with the products of one unit
// beside the softmax of another:
//
//     products of queries and keys    of unit u + 1     beside the weights of unit u, first group
//     products of weights and values  of units before   beside the weights of unit u, second group
//
// A product of tiles occupies its unit for 16 cycles, in which the vectors do half a step of the
// softmax. What else it takes, by measurement (docs/kernels/cpu-amx.md): a tile of sums is stored
// only just before its register is needed again, and keys and values bypass the first-level cache.
//
// Weights are computed with the maximum as it stands. When a tile turns out to have a logit that
// raises it, everything before the tile is finished, and the tile is left to attend_pair. So the
// operations of a row, and its bits, are the same.
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
  F32 sum[4], largest[2];

  template <int kStep>
  [[gnu::always_inline]] void step() {
    const F32 a = load(scores + kStep * kGroupRows), b = load(scores + (16 + kStep) * kGroupRows);
    largest[0] = max(a, largest[0]);
    largest[1] = max(b, largest[1]);
    const F32 p = exp2(fms(a, scale, shift)), q = exp2(fms(b, scale, shift));
    sum[kStep % 4] = (sum[kStep % 4] + p) + q;
    const __m512i low = _mm512_srli_epi32(rounded(p).v, 16);
    _mm512_store_si512(weights + kStep * kTileRowBytes,
                       _mm512_mask_blend_epi16(0xaaaaaaaau, low, rounded(q).v));
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
    product_bf16<0, 4, 6>();
    steps.run<at(kProduct), at(kProduct + 1)>();
    load_tile<7>(queries[1] + kChunk * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<1>(pending);
      clear_tile<1>();
    }
    product_bf16<1, 4, 7>();
    steps.run<at(kProduct + 1), at(kProduct + 2)>();
    stream_tile<5>(keys + (kChunks + kChunk) * kTileBytes);
    if constexpr (kChunk == 0) {
      store_pending<2>(pending);
      clear_tile<2>();
    }
    product_bf16<2, 5, 6>();
    steps.run<at(kProduct + 2), at(kProduct + 3)>();
    if constexpr (kChunk == 0) {
      store_pending<3>(pending);
      clear_tile<3>();
    }
    product_bf16<3, 5, 7>();
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
    product_bf16<0, 4, 6>();
    steps.run<at(kProduct), at(kProduct + 1)>();
    load_tile<7>(weights[1] + kUnit * kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<1>(pending);
      load_tile<1>(o[1]);
    }
    product_bf16<1, 4, 7>();
    steps.run<at(kProduct + 1), at(kProduct + 2)>();
    stream_tile<5>(values[kUnit] + kTileBytes);
    if constexpr (kUnit == 0) {
      store_pending<2>(pending);
      load_tile<2>(o[0] + 256);
    }
    product_bf16<2, 5, 6>();
    steps.run<at(kProduct + 2), at(kProduct + 3)>();
    if constexpr (kUnit == 0) {
      store_pending<3>(pending);
      load_tile<3>(o[1] + 256);
    }
    product_bf16<3, 5, 7>();
    steps.run<at(kProduct + 3), at(kProduct + 4)>();
    accumulate_beside<kBegin, kEnd, kUnit + 1>(values, weights, o, pending, steps);
  }
}

// A unit of a run.
struct RunUnit {
  const PackedTile* tile;
  int unit;
  bool is_last;    // of its tile
  bool is_shaped;  // the products are not yet the logits, or some are hidden
};

// Units whose weights are there, to meet their values.
struct Batch {
  int count = 0;
  int next_chunk = 0;  // of values; all before are done
  const char* values[kBatchUnits];
  const char* weights[2];  // [kBatchUnits] tiles of each group
};

template <int kChunks>
class Run {
 public:
  Run(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
      const PairOfGroups& pair, const RunUnit* units, int count)
      : task_(task),
        logits_(logits),
        scratch_(scratch),
        pair_(pair),
        units_(units),
        count_(count),
        chunks_v_(chunks_of(task.head_dim_v)) {
    drop_pending();
    for (int g = 0; g < 2; ++g) {
      done_.weights[g] = scratch.weights + g * kBatchUnits * kTileBytes;
      open_.weights[g] = scratch.weights + (2 + g) * kBatchUnits * kTileBytes;
    }
  }

  // Returns how many units were attended: all, or up to a tile that raises a row's maximum.
  int attend() {
    begin();
    for (int u = 0; u < count_; ++u) {
      start_tile_if_first(u);
      Steps steps = steps_of(u, 0);
      if (u + 1 < count_ && multiplied_ < u + 1) {
        multiply_beside<kChunks>(keys_of(u + 1), pair_.queries, pending_, steps);
        multiplied_ = u + 1;
        pending_ = scores_of(u + 1);
      } else {
        steps.template run<0, kSteps>();
      }
      keep(steps, 0);
      second_group(u);
      if (u + 1 < count_ && units_[u + 1].is_shaped && shaped_ < u + 1) shape(u + 1);
      add_to_batch(u);
      if (!units_[u].is_last) continue;
      if (rises()) return leave(u);
      close_tile();
    }
    finish_all();
    return count_;
  }

 private:
  float* scores(int u, int g) const { return scratch_.run_scores + (u % 2 * 2 + g) * 512; }
  Pending scores_of(int u) const {
    return {{scores(u, 0), scores(u, 1), scores(u, 0) + 256, scores(u, 1) + 256}};
  }
  const char* keys_of(int u) const {
    return units_[u].tile->keys + int64_t{units_[u].unit} * 2 * kChunks * kTileBytes;
  }
  void drop_pending() {
    for (int i = 0; i < 4; ++i) pending_.to[i] = scratch_.sums + i * 256;
  }
  void flush() {
    store_all(pending_);
    drop_pending();
  }

  void multiply(int u) {
    float* const to[2] = {scores(u, 0), scores(u, 1)};
    multiply_unit(keys_of(u), pair_.queries, kChunks, to);
    multiplied_ = u;
    if (units_[u].is_shaped) shape(u);
  }

  // Rows that have seen nothing take the first tile's maximum before its weights are computed.
  void begin() {
    multiply(0);
    if (!units_[0].is_last) multiply(1);
    const int units = units_[0].is_last ? 1 : 2;
    for (int g = 0; g < 2; ++g) {
      const Group& group = pair_.group[g];
      F32 here = largest_of(scores(0, g), 1);
      if (units == 2) here = max(here, largest_of(scores(1, g), 1));
      const bool fresh = equal(load(group.m), broadcast(kMinusInfinity)).bits == 0xffff;
      F32 rescale;
      if (raise_maximum(group, here * broadcast(logits_.logit_scale()), rescale) && !fresh)
        rescale_columns(rescale, chunks_v_, group.o);
    }
  }

  void start_tile_if_first(int u) {
    if (units_[u].unit != 0) return;
    for (int g = 0; g < 2; ++g) {
      shift_[g] = shift_of(pair_.group[g]);
      for (F32& part : sum_[g]) part = broadcast(0.0f);
      largest_[g][0] = largest_[g][1] = broadcast(kMinusInfinity);
    }
  }

  [[gnu::always_inline]] Steps steps_of(int u, int g) const {
    return {scores(u, g),
            const_cast<char*>(open_.weights[g]) + open_.count * kTileBytes,
            broadcast(logits_.exponent_scale()),
            shift_[g],
            {sum_[g][0], sum_[g][1], sum_[g][2], sum_[g][3]},
            {largest_[g][0], largest_[g][1]}};
  }
  [[gnu::always_inline]] void keep(const Steps& steps, int g) {
    for (int i = 0; i < 4; ++i) sum_[g][i] = steps.sum[i];
    for (int i = 0; i < 2; ++i) largest_[g][i] = steps.largest[i];
  }

  // The steps of the second group, beside a share of the products of the batch before.
  [[gnu::always_inline]] void second_group(int u) {
    Steps steps = steps_of(u, 1);
    const int left = chunks_v_ - done_.next_chunk;
    if (done_.count < kBatchUnits || left == 0) {
      flush();
      steps.run<0, kSteps>();
    } else if (chunks_v_ <= 4 || left == 1) {
      chunk_beside<0, kSteps>(steps);
    } else {
      chunk_beside<0, kSteps / 2>(steps);
      chunk_beside<kSteps / 2, kSteps>(steps);
    }
    keep(steps, 1);
  }

  template <int kBegin, int kEnd>
  [[gnu::always_inline]] void chunk_beside(Steps& steps) {
    const int64_t c = done_.next_chunk++;
    const char* values[kBatchUnits];
    for (int i = 0; i < kBatchUnits; ++i) values[i] = done_.values[i] + c * 2 * kTileBytes;
    float* const o[2] = {pair_.group[0].o + c * 512, pair_.group[1].o + c * 512};
    accumulate_beside<kBegin, kEnd>(values, done_.weights, o, pending_, steps);
    pending_ = {{o[0], o[1], o[0] + 256, o[1] + 256}};
  }

  // Makes logits of the products of a unit and hides what rows do not see.
  void shape(int u) {
    flush();
    shaped_ = u;
    const RunUnit& it = units_[u];
    for (int g = 0; g < 2; ++g) {
      const Group& group = pair_.group[g];
      if (group.rows == 0) continue;
      if (!logits_.plain)
        make_logits(task_, group, {nullptr, nullptr}, it.tile->start + it.unit * kUnitKeys, 1,
                    scores(u, g));
      Seen seen;
      see_packed(task_, *it.tile, group, seen);
      hide(seen, it.unit * kUnitKeys, kUnitKeys, scores(u, g));
    }
  }

  void add_to_batch(int u) {
    const RunUnit& it = units_[u];
    open_.values[open_.count++] = it.tile->values + int64_t{it.unit} * chunks_v_ * 2 * kTileBytes;
  }

  bool rises() const {
    unsigned any = 0;
    for (int g = 0; g < 2; ++g) {
      const F32 here = max(largest_[g][0], largest_[g][1]) * broadcast(logits_.logit_scale());
      any |= rising_rows(pair_.group[g], here);
    }
    return any != 0;
  }

  void close_tile() {
    for (int g = 0; g < 2; ++g) {
      const Group& group = pair_.group[g];
      store(group.l, load(group.l) + ((sum_[g][0] + sum_[g][1]) + (sum_[g][2] + sum_[g][3])));
    }
    if (open_.count + kUnits <= kBatchUnits) return;
    finish(done_);
    const Batch free = done_;
    done_ = open_;
    open_ = free;
    open_.count = open_.next_chunk = 0;
  }

  // What is left of a batch, alone.
  void finish(Batch& batch) {
    if (batch.count == 0 || batch.next_chunk == chunks_v_) return;
    flush();
    for (int c = batch.next_chunk; c < chunks_v_; ++c) {
      float* const o[2] = {pair_.group[0].o + c * 512, pair_.group[1].o + c * 512};
      accumulate_chunk(batch.values, int64_t{c} * 2 * kTileBytes, batch.weights, batch.count, o);
    }
    batch.next_chunk = chunks_v_;
  }

  void finish_all() {
    flush();
    finish(done_);
    finish(open_);
  }

  // Everything before the tile that ends with unit u is finished; the tile is not attended.
  int leave(int u) {
    const int units = units_[u].unit + 1;
    open_.count -= units;
    finish_all();
    return u + 1 - units;
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const PairOfGroups& pair_;
  const RunUnit* const units_;
  const int count_, chunks_v_;
  Pending pending_;
  Batch done_, open_;
  int multiplied_ = -1, shaped_ = -1;  // the last unit that is
  F32 shift_[2], sum_[2][4], largest_[2][2];
};

// Runs take what they have code for: the other widths, and what is computed row by row, are left to
// attend_pair.
inline bool can_run(const AttendTask& task) {
  const int chunks = chunks_of(task.head_dim);
  return (chunks == 2 || chunks == 3 || chunks == 4 || chunks == 6 || chunks == 8) &&
         chunks_of(task.head_dim_v) <= 8 && task.score.apply == nullptr &&
         task.keys.scales == nullptr && task.values.scales == nullptr;
}

inline int run_units(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                     const PairOfGroups& pair, const RunUnit* units, int count) {
  switch (chunks_of(task.head_dim)) {
    case 2:
      return Run<2>(task, logits, scratch, pair, units, count).attend();
    case 3:
      return Run<3>(task, logits, scratch, pair, units, count).attend();
    case 4:
      return Run<4>(task, logits, scratch, pair, units, count).attend();
    case 6:
      return Run<6>(task, logits, scratch, pair, units, count).attend();
    default:
      return Run<8>(task, logits, scratch, pair, units, count).attend();
  }
}

// What a pair of groups sees of a tile.
struct PairSeen {
  uint64_t any, all;
};

inline PairSeen see_pair(const AttendTask& task, const PackedTile& tile, const PairOfGroups& pair) {
  Seen seen;
  see_packed(task, tile, pair.group[0], seen);
  PairSeen both{seen.any, seen.all};
  if (pair.group[1].rows == 0) return both;
  see_packed(task, tile, pair.group[1], seen);
  return {both.any | seen.any, both.all & seen.all};
}

// The tiles of a pass for one pair of groups: in runs, and one by one where a run cannot go on.
class PairPass {
 public:
  PairPass(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
           const PairOfGroups& pair)
      : task_(task), logits_(logits), scratch_(scratch), pair_(pair), runs_(can_run(task)) {}

  void attend(const Pass& pass) {
    for (int i = 0; i < pass.count; ++i) add(pass.tiles[i]);
    run();
  }

 private:
  void add(const PackedTile& tile) {
    const PairSeen seen = see_pair(task_, tile, pair_);
    if (seen.any == 0) return;
    if (!runs_ || (!tile.finite && seen.all != tile.any)) {
      run();
      return attend_pair(task_, logits_, scratch_, tile, pair_);
    }
    const int units = units_of(kTileKeys - __builtin_clzll(seen.any));
    const bool is_shaped = !logits_.plain || seen.all != ~uint64_t{0};
    for (int unit = 0; unit < units; ++unit)
      units_[count_++] = {&tile, unit, unit + 1 == units, is_shaped};
  }

  void run() {
    for (int done = 0; done < count_;) {
      done += run_units(task_, logits_, scratch_, pair_, units_ + done, count_ - done);
      if (done == count_) break;
      attend_pair(task_, logits_, scratch_, *units_[done].tile, pair_);
      while (!units_[done++].is_last) {
      }
    }
    count_ = 0;
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const PairOfGroups& pair_;
  const bool runs_;
  int count_ = 0;
  RunUnit units_[kPassTiles * kUnits];
};

inline void attend_many(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task);
  Pass pass;
  Tile tile;
  bool found = find_tile(task, task.key_begin, SeenTile::none(task.seen), tile);
  while (found) {
    for (pass.count = 0; found && pass.count < kPassTiles; ++pass.count) {
      PackedTile& packed = pass.tiles[pass.count];
      packed.words = nullptr;
      pack_tile(task, scratch, tile, pass.count, packed);
      found = find_tile(task, tile.start + kTileKeys, tile.seen, tile);
    }
    for (int row = 0; row < task.num_rows; row += kPairRows) {
      const PairOfGroups pair(task, scratch, row);
      PairPass(task, logits, scratch, pair).attend(pass);
    }
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

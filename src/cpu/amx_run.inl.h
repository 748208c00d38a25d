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

#include "amx_beside.inl.h"
#include "amx_stream.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

template <int kChunks, Form kForm>
class Run {
  static constexpr bool kQuick = kForm == Form::quick;
  using Steps = PAGODA_ISA::Steps<kForm>;

 public:
  Run(const AttendTask& task, const Logits& logits, const AmxScratch& scratch)
      : task_(task), logits_(logits), scratch_(scratch), chunks_v_(chunks_of(task.head_dim_v)) {
    drop_pending();
    for (int i = 0; i < 2; ++i)
      for (int g = 0; g < 2; ++g)
        batches_[i].weights[g] = scratch.weights + (2 * i + g) * kBatchUnits * kTileBytes;
  }

  void attend(UnitStream& stream) {
    // Places in turn, as for batches: a copy of what was just written waits for it.
    PairUnit units[2];
    bool is_multiplied = false;
    for (bool found = stream.next(units[parity_]); found; parity_ ^= 1) {
      const PairUnit &unit = units[parity_], &next = units[parity_ ^ 1];
      found = stream.next(units[parity_ ^ 1]);
      if (unit.is_alone) {
        finish_all();
        redo(unit);
        continue;
      }
      if (!is_multiplied) multiply(unit);
      is_multiplied = found && !next.is_alone;
      attend_beside(unit, is_multiplied ? &next : nullptr);
      if (open_->count > 0 && (!found || next.pair != unit.pair || open_->count == kBatchUnits))
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
    for (int g = 0; g < 2; ++g) start_rows(logits_, group[g], first_key(it), scores(0, g));
    if constexpr (kForm != Form::plain) take_up(*it.pair);
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
    Batch& open = *open_;
    open.pair = it.pair;
    open.values[open.count++] = it.tile->values + int64_t{it.unit} * chunks_v_ * 2 * kTileBytes;
    for (int g = 0; g < 2; ++g) open.o[g] = group[g].o;
  }

  // The softmax of a unit again, after everything before it and with the maxima that it raises.
  F32 start_over(const PairUnit& it, int g, F32 sum) {
    const Group& group = it.pair->group[g];
    const Lanes rising = rising_rows(sum);
    if (rising.bits != 0) {
      const F32 factor = raise_maximum(logits_, group, rising, first_key(it), scores(0, g));
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

  // Taken without quick logits after one that was not right: the next are likely to be likewise.
  static constexpr int kSlowUnits = 16;

  static int first_key(const PairUnit& it) { return it.tile->start + it.unit * kUnitKeys; }

  [[gnu::always_inline]] Steps steps_of(const PairUnit& it, int g) const {
    const Group& group = it.pair->group[g];
    Steps steps(scores(0, g), const_cast<char*>(open_->weights[g]) + open_->count * kTileBytes,
                logits_.exponent_scale(group.first), group);
    if constexpr (kQuick) {
      if (is_product_[parity_]) steps.quick = &quick_[g];
      steps.distance = quick_[g].slopes.distance(first_key(it));
    }
    if constexpr (kForm == Form::sloped) {
      steps.slope = slopes_[g].of_exponent;
      steps.shift = slopes_[g].first_shift(steps.shift, first_key(it));
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
    const int left = done_->count > 0 ? chunks_v_ - done_->next_chunk : 0;
    const int units = smaller(it.left, kBatchUnits - open_->count);
    const int chunks = (left + units - 1) / units;
    if (chunks == 0) {
      flush();
      steps.template run<0, kSteps>();
    } else if (chunks == 1) {
      accumulate_beside<kSteps>(*done_, pending_, steps, 0);
    } else {
      const int half = kSteps / 2;
      accumulate_beside<half>(*done_, pending_, steps, 0);
      if (chunks == 2) {
        accumulate_beside<half>(*done_, pending_, steps, half);
      } else {
        accumulate_beside<half / 2>(*done_, pending_, steps, half);
        accumulate_beside<half / 2>(*done_, pending_, steps, half + half / 2);
      }
    }
    return sum_of(steps);
  }

  // Makes logits of the products of a unit unless the steps can do so, and hides what rows do not
  // see.
  void prepare(const PairUnit& it, int ahead) {
    bool& is_product = is_product_[parity_ ^ ahead];
    if (is_far_) slow_units_ = kSlowUnits;
    is_product = kQuick && slow_units_ == 0 && !it.is_hidden && !needs_logits(it);
    if (slow_units_ > 0) --slow_units_;
    if (!is_product && (it.is_hidden || !logits_.are_products())) shape(it, ahead);
  }

  void take_up(const PairOfGroups& pair) {
    if (taken_row_ == pair.group[0].first) return;
    taken_row_ = pair.group[0].first;
    for (int g = 0; g < 2; ++g) {
      if constexpr (kQuick) quick_[g] = QuickLogits(logits_, pair.group[g]);
      if constexpr (kForm == Form::sloped) slopes_[g] = Slopes(task_, pair.group[g]);
    }
  }

  // Whether m of a row is going to be set before the unit's weights are computed.
  static bool needs_logits(const PairUnit& it) {
    const Group(&group)[2] = it.pair->group;
    return (fresh_rows(group[0]).bits | fresh_rows(group[1]).bits) != 0;
  }

  // What is pending then are outputs: scores were stored by whatever came behind their products.
  void shape(const PairUnit& it, int ahead) {
    is_product_[parity_ ^ ahead] = false;
    for (int g = 0; g < 2; ++g) {
      const Group& group = it.pair->group[g];
      if (!logits_.are_products())
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
    finish(*done_);
    seal(*open_);
    Batch* const free = done_;
    done_ = open_;
    open_ = free;
    open_->count = open_->next_chunk = 0;
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
    finish(*done_);
    if (open_->count > 0) seal(*open_);
    finish(*open_);
    done_->count = open_->count = open_->next_chunk = 0;
  }

  const AttendTask& task_;
  const Logits& logits_;
  const AmxScratch& scratch_;
  const int chunks_v_;
  int parity_ = 0;           // of the scores' two places
  bool is_product_[2] = {};  // which are not logits yet
  QuickLogits quick_[2];     // of the pair that begins with taken_row_
  Slopes slopes_[2];         // likewise
  int taken_row_ = -1;
  bool is_far_ = false;  // a quick logit of the unit was not right
  int slow_units_ = 0;   // to come
  Pending pending_;
  Batch batches_[2];
  Batch *done_ = &batches_[0], *open_ = &batches_[1];
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

template <Form kForm>
inline void attend_stream(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                          const Pass& pass) {
  UnitStream stream(task, scratch, pass);
  switch (chunks_of(task.head_dim)) {
    case 2:
      return Run<2, kForm>(task, logits, scratch).attend(stream);
    case 3:
      return Run<3, kForm>(task, logits, scratch).attend(stream);
    case 4:
      return Run<4, kForm>(task, logits, scratch).attend(stream);
    case 6:
      return Run<6, kForm>(task, logits, scratch).attend(stream);
    default:
      return Run<8, kForm>(task, logits, scratch).attend(stream);
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
  if (logits.sloped) return attend_stream<Form::sloped>(task, logits, scratch, pass);
  if (logits.quick) return attend_stream<Form::quick>(task, logits, scratch, pass);
  attend_stream<Form::plain>(task, logits, scratch, pass);
}

inline void attend_many(const AttendTask& task, const AmxScratch& scratch) {
  const Logits logits(task, scratch.query_units);
  for (int i = 0; i < 2 * chunks_of(task.head_dim_v) * kTileBytes; i += kTileRowBytes)
    _mm512_store_si512(const_cast<char*>(scratch.zeros) + i, _mm512_setzero_si512());
  Pass pass;
  Tile tiles[2];
  int current = 0;
  TileStream stream(task);
  bool found = stream.next(tiles[current]);
  if (!found && !task.continues) clear(task);
  for (pass.is_first = !task.continues; found; pass.is_first = false) {
    for (pass.count = 0; found && pass.count < kPassTiles; ++pass.count) {
      Tile& tile = tiles[current];
      Tile& next = tiles[1 - current];
      found = stream.next(next);
      pack_tile(task, scratch, tile, pass.count, found ? &next : nullptr, pass.tiles[pass.count]);
      current = 1 - current;
    }
    attend_pass(task, logits, scratch, pass);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

// The online softmax over one tile of keys: from products to weights, with the running maximum and
// sum of each row. The order of operations per score is that of core/score.h and core/mask.h.
#pragma once

#include "math.inl.h"
#include "pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

inline float scale_of_row(const AttendTask& task, int row) {
  return task.query_scale != nullptr ? task.scale * task.query_scale[row] : task.scale;
}

// Products with keys as they are stored to products with keys.
inline F32 with_key_scale(const TileScales& scales, int c, F32 product) {
  return scales.keys != nullptr ? product * load(scales.keys + c) : product;
}

// Weights to those of values as they are stored. What is not a number at a key that the row does
// not see must not become one at the row.
inline F32 with_value_scale(const TileScales& scales, int c, Lanes seen, F32 p) {
  if (scales.values == nullptr) return p;
  return select(seen, p * load(scales.values + c), broadcast(0.0f));
}

// Scale, soft-cap and ALiBi of kWidth scores. distance: key position - query position
inline F32 logits(const AttendTask& task, F32 product, float scale, F32 distance, float slope) {
  F32 s = product * broadcast(scale);
  if (task.softcap > 0) {
    const F32 cap = broadcast(task.softcap);
    s = cap * tanh(s / cap);
  }
  if (task.bias == Bias::linear) s = fma(broadcast(slope), distance, s);
  if (task.bias == Bias::sqrt)
    s = fnma(broadcast(slope), sqrt(max(broadcast(0.0f) - distance, broadcast(0.0f))), s);
  return s;
}

// Position of kWidth keys from number `key` on, less `position`. The formula is position_of of
// core/shard.h, which is not included here.
inline F32 distances(const AttendTask& task, int key, int position) {
  if (task.num_ranks == 1) return broadcast(static_cast<float>(key - position)) + iota();
  float distance[kWidth];
  for (int i = 0; i < kWidth; ++i) {
    const int64_t round = (key + i) / task.interleave, within = (key + i) % task.interleave;
    const int64_t at = (round * task.num_ranks + task.rank) * task.interleave + within;
    distance[i] = static_cast<float>(at - position);
  }
  return load(distance);
}

// Hands the logits of a row to the caller's expression; the rest as below.
inline float rescored(const AttendTask& task, int row, int tile, uint64_t seen, int columns,
                      float* scores) {
  task.score.apply(task.score.context, row, tile, scores);
  F32 largest = broadcast(kMinusInfinity);
  for (int c = 0; c < columns; c += kWidth) {
    const F32 s = select(lanes_of(seen >> c), load(scores + c), broadcast(kMinusInfinity));
    store(scores + c, s);
    largest = max(s, largest);
  }
  return reduce_max(largest);
}

// Replaces the products of one row by logits, -inf where the row does not see the key, and returns
// the largest. scores: [columns], in place; columns is a multiple of kWidth. seen: a bit per key
inline float logits_of_row(const AttendTask& task, const TileScales& scales, int row, int tile,
                           uint64_t seen, int columns, float* scores) {
  F32 largest = broadcast(kMinusInfinity);
  const float scale = scale_of_row(task, row);
  const float slope = task.slope != nullptr ? task.slope[row] : 0.0f;
  for (int c = 0; c < columns; c += kWidth) {
    const F32 distance =
        task.bias == Bias::none ? broadcast(0.0f) : distances(task, tile + c, task.position[row]);
    const F32 s = logits(task, with_key_scale(scales, c, load(scores + c)), scale, distance, slope);
    const F32 shown = select(lanes_of(seen >> c), s, broadcast(kMinusInfinity));
    store(scores + c, task.score.apply != nullptr ? s : shown);
    largest = max(shown, largest);
  }
  return task.score.apply != nullptr ? rescored(task, row, tile, seen, columns, scores)
                                     : reduce_max(largest);
}

// Takes the largest logit of a row's tile into account: sets m, and in task.rescale what the row's
// earlier sum and output have to be multiplied by. Returns what is subtracted from the logits.
//
// A maximum of -inf means that nothing was seen yet. Subtracting it would give NaN, so such rows
// subtract 0: all their weights are exp(-inf) = 0.
inline float raise_maximum(const AttendTask& task, int row, float here) {
  const float before = task.state.m[row];
  const float m = here > before ? here : before;
  const float shift = m == kMinusInfinity ? 0.0f : m;
  // An unchanged maximum rescales by exactly 1, which is what exp(0) would give.
  float rescale = 1.0f;
  if (m != before) {
    float lanes[kWidth];
    store(lanes, exp(broadcast(before - shift)));
    rescale = lanes[0];
  }
  task.state.m[row] = m;
  task.rescale[row] = rescale;
  return shift;
}

inline void add_weights(const AttendTask& task, int row, F32 sum) {
  task.state.l[row] = task.state.l[row] * task.rescale[row] + reduce_add(sum);
}

// The row's products become weights. The sum is taken before the scales of values.
inline void softmax_row(const AttendTask& task, const TileScales& scales, int row, int tile,
                        uint64_t seen, int columns) {
  float* scores = task.scores + static_cast<int64_t>(row) * kTileKeys;
  const float here = logits_of_row(task, scales, row, tile, seen, columns, scores);
  const F32 shift = broadcast(raise_maximum(task, row, here));
  F32 sum = broadcast(0.0f);
  for (int c = 0; c < columns; c += kWidth) {
    const F32 p = exp(load(scores + c) - shift);
    store(scores + c, with_value_scale(scales, c, lanes_of(seen >> c), p));
    sum = sum + p;
  }
  add_weights(task, row, sum);
}

// The same for a row that sees the whole tile and has nothing but a scale: what most rows are. The
// scores stay in registers.
inline void softmax_plain_row(const AttendTask& task, const TileScales& scales, int row) {
  constexpr int kVectors = kTileKeys / kWidth;
  float* scores = task.scores + static_cast<int64_t>(row) * kTileKeys;
  const F32 scale = broadcast(scale_of_row(task, row));
  F32 s[kVectors];
  F32 largest = broadcast(kMinusInfinity), sum = broadcast(0.0f);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    s[v] = with_key_scale(scales, v * kWidth, load(scores + v * kWidth)) * scale;
    largest = max(s[v], largest);
  }
  const F32 shift = broadcast(raise_maximum(task, row, reduce_max(largest)));
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const F32 p = exp(s[v] - shift);
    store(scores + v * kWidth, with_value_scale(scales, v * kWidth, first_lanes(kWidth), p));
    sum = sum + p;
  }
  add_weights(task, row, sum);
}

}  // namespace pagoda::cpu::PAGODA_ISA

// The online softmax over one tile of keys: from products to weights, with the running maximum and
// sum of each row. The order of operations per score is that of core/score.h and core/mask.h.
#pragma once

#include "math.inl.h"
#include "pack.inl.h"
#include "seen.inl.h"

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

// A vector for each row of a block, and a number for each. Rows beyond the block's hold anything.
using RowVectors = float[kBlockRows][kWidth];
using RowNumbers = float[kRowPadding];

struct Largest {
  static F32 of(F32 a, F32 b) { return max(a, b); }
  static float across(F32 a) { return reduce_max(a); }
};
struct Sum {
  static F32 of(F32 a, F32 b) { return a + b; }
  static float across(F32 a) { return reduce_add(a); }
};

// The lanes of each row as one number. Rows are folded in the same order whatever stands beside
// them.
template <class Op>
inline void reduce_rows(const RowVectors& vectors, int rows, RowNumbers& numbers) {
  if constexpr (kReducesTogether) {
    reduce_together<Op>(vectors, numbers);
  } else {
    for (int r = 0; r < rows; ++r) numbers[r] = Op::across(load(vectors[r]));
  }
}

// Of arrays with one number per row: of up to kWidth rows, and no others.
inline F32 load_rows(const float* from, int rows) {
  if constexpr (kReducesTogether)
    return AsF32::load(reinterpret_cast<const char*>(from), first_lanes(rows));
  float numbers[kWidth] = {};
  for (int r = 0; r < smaller(rows, kWidth); ++r) numbers[r] = from[r];
  return load(numbers);
}
inline void store_rows(float* to, int rows, F32 a) {
  if constexpr (kReducesTogether)
    return AsF32::store(reinterpret_cast<char*>(to), first_lanes(rows), a);
  float numbers[kWidth];
  store(numbers, a);
  for (int r = 0; r < smaller(rows, kWidth); ++r) to[r] = numbers[r];
}

// Hands the logits of a row to the caller's expression; the rest as below.
inline F32 rescored(const AttendTask& task, int row, int tile, uint64_t seen, int columns,
                    float* scores) {
  task.score.apply(task.score.context, row, tile, scores);
  F32 largest = broadcast(kMinusInfinity);
  for (int c = 0; c < columns; c += kWidth) {
    const F32 s = select(lanes_of(seen >> c), load(scores + c), broadcast(kMinusInfinity));
    store(scores + c, s);
    largest = max(s, largest);
  }
  return largest;
}

// Replaces the products of one row by logits, -inf where the row does not see the key, and returns
// the largest, lane by lane. scores: [columns], in place; columns is a multiple of kWidth. seen: a
// bit per key
inline F32 logits_of_row(const AttendTask& task, const TileScales& scales, int row, int tile,
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
  return task.score.apply != nullptr ? rescored(task, row, tile, seen, columns, scores) : largest;
}

// Takes the largest logits of a block's rows into account: sets m, and in task.rescale what the
// rows' earlier sums and outputs have to be multiplied by, which is exactly 1 where m stays. Sets
// what is subtracted from the logits.
//
// A maximum of -inf means that nothing was seen yet. Subtracting it would give NaN, so such rows
// subtract 0: all their weights are exp(-inf) = 0.
inline void raise_maxima(const AttendTask& task, int row, int rows, const RowVectors& largest,
                         RowNumbers& shift) {
  RowNumbers here = {};
  reduce_rows<Largest>(largest, rows, here);
  for (int i = 0; i < rows; i += kWidth) {
    float* const at = task.state.m + row + i;
    const F32 before = load_rows(at, rows - i), m = max(load(here + i), before);
    const F32 subtracted = select(equal(m, broadcast(kMinusInfinity)), broadcast(0.0f), m);
    store_rows(at, rows - i, m);
    store_rows(task.rescale + row + i, rows - i, exp(before - subtracted));
    store(shift + i, subtracted);
  }
}

// sums: of the rows' weights, lane by lane
inline void add_weights(const AttendTask& task, int row, int rows, const RowVectors& sums) {
  RowNumbers sum = {};
  reduce_rows<Sum>(sums, rows, sum);
  for (int i = 0; i < rows; i += kWidth) {
    float* const at = task.state.l + row + i;
    const F32 rescale = load_rows(task.rescale + row + i, rows - i);
    store_rows(at, rows - i, load_rows(at, rows - i) * rescale + load(sum + i));
  }
}

// The products of a block's rows become weights. Sums are taken before the scales of values. words:
// [rows] what each sees of the tile
inline void softmax_rows(const AttendTask& task, const TileScales& scales, int row, int rows,
                         int tile, const uint64_t* words, int columns) {
  alignas(64) RowVectors vectors;
  RowNumbers shifts;
  float* const scores = task.scores + static_cast<int64_t>(row) * kTileKeys;
  for (int r = 0; r < rows; ++r)
    store(vectors[r],
          logits_of_row(task, scales, row + r, tile, words[r], columns, scores + r * kTileKeys));
  raise_maxima(task, row, rows, vectors, shifts);
  for (int r = 0; r < rows; ++r) {
    const F32 shift = broadcast(shifts[r]);
    F32 sum = broadcast(0.0f);
    for (int c = 0; c < columns; c += kWidth) {
      float* const at = scores + r * kTileKeys + c;
      const F32 p = exp_below(load(at) - shift);
      store(at, with_value_scale(scales, c, lanes_of(words[r] >> c), p));
      sum = sum + p;
    }
    store(vectors[r], sum);
  }
  add_weights(task, row, rows, vectors);
}

// The same for rows that see the whole tile and have nothing but a scale: what most rows are.
inline void softmax_plain_rows(const AttendTask& task, const TileScales& scales, int row,
                               int rows) {
  constexpr int kVectors = kTileKeys / kWidth;
  const TileScales own = scales;  // a copy, which no store may change
  alignas(64) RowVectors vectors;
  RowNumbers shifts;
  float* const scores = task.scores + static_cast<int64_t>(row) * kTileKeys;
  for (int r = 0; r < rows; ++r) {
    const float* const from = scores + r * kTileKeys;
    const F32 scale = broadcast(scale_of_row(task, row + r));
    F32 largest = broadcast(kMinusInfinity);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      largest = max(with_key_scale(own, v * kWidth, load(from + v * kWidth)) * scale, largest);
    store(vectors[r], largest);
  }
  raise_maxima(task, row, rows, vectors, shifts);
  for (int r = 0; r < rows; ++r) {
    float* const at = scores + r * kTileKeys;
    const F32 scale = broadcast(scale_of_row(task, row + r)), shift = broadcast(shifts[r]);
    F32 p[kVectors], sum = broadcast(0.0f);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      p[v] = with_key_scale(own, v * kWidth, load(at + v * kWidth)) * scale;
      p[v] = exp_below(p[v] - shift);
      sum = sum + p[v];
    }
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      store(at + v * kWidth, with_value_scale(own, v * kWidth, first_lanes(kWidth), p[v]));
    store(vectors[r], sum);
  }
  add_weights(task, row, rows, vectors);
}

}  // namespace pagoda::cpu::PAGODA_ISA

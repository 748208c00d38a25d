// Products of tiles with the softmax of other scores beside them, a few steps between one product
// and the next, for amx_run.inl.h.
#pragma once

#include "amx_many.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kBatchUnits = 4;  // whose weights meet the values at once
constexpr int kSteps = 16;      // of a group's softmax of a unit: keys j and 16 + j

// Where the four tiles of sums of the last products are to be stored.
struct Pending {
  float* to[4];
};

// What scores are when the softmax takes them up: exponents but for a factor; products with a
// linear bias to come; or perhaps products of which logits are made on the way.
enum class Form : uint8_t { plain, sloped, quick };

// The numbers of a unit's keys.
alignas(64) constexpr float kKeyNumbers[kUnitKeys] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                      11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                      22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

// The softmax of one group over one unit, step by step, in registers.
template <Form kForm>
struct Steps {
  static constexpr bool kQuick = kForm == Form::quick;

  const float* scores;  // [32 keys][16 rows]
  char* weights;        // tile
  F32 scale, shift;
  F32 part[4];
  F32 slope;  // of exponents; then `shift` is that of the first key
  const float* key_numbers = kKeyNumbers;
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
    if constexpr (kForm == Form::sloped)
      return fms(s, scale, Slopes::shift(slope, broadcast(key_numbers[kKey]), shift));
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
    it.key_numbers += begin;
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

}  // namespace pagoda::cpu::PAGODA_ISA

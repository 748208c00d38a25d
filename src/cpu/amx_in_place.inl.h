// Values of the pipeline of few rows as they lie in their pages, for up to 8 rows, where values are
// whole tiles wide.
//
//     sums [2 x rows, 16 words] = weights x rows of values, of even columns and of odd ones
//     O                        += sums, one unit later
//
// A word of a row of values holds two neighbouring columns. A weight in the lower half of a word
// multiplies the even one, in the upper half the odd one; both kinds of rows of weights stand in
// one tile: a product takes 11 cycles for 8 rows and 18 for 16, and an own load for either kind.
#pragma once

#include "amx_unit.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

template <int kRows>
class ValuesInPlace {
 public:
  static constexpr int kGroups = 1;
  static constexpr int kPlaces = 4;      // of the pipeline: sums are added in the last
  static constexpr int kAhead = 1;       // units that enter before a unit's values are read
  static constexpr int kLinesApart = 1;  // of keys and values, to ask for

  ValuesInPlace(const AttendTask& task, const AmxScratch& scratch)
      : task_(task),
        scratch_(scratch),
        places_(task, scratch),
        group_(group_of(task, 0)),
        chunks_(places_.chunks_v()) {}

  // Tiles 0 and 1 are scores, 2 queries, 3 keys or values, 4 sums, 6 and 7 weights.
  static constexpr TileLayout layout() {
    TileLayout it;
    for (int tile = 0; tile < 3; ++tile) it.set(tile, kTileRows, kRows * 4);
    it.set(3, kTileRows, kTileRowBytes);
    for (int tile = 4; tile < 8; ++tile) it.set(tile, 2 * kRows, kTileRowBytes);
    return it;
  }

  void begin() {
    if (task_.continues) return take_outputs();
    float* to = outputs();
    for (int i = 0, n = num_outputs(); i < n; ++i) store(to + i * kWidth, broadcast(0.0f));
  }
  void end() const { give_outputs(); }

  // Of a unit that enters.
  void enter(const FewUnit&, uint32_t) {}

  // Of the pipeline.
  struct Step {
    uint32_t number;  // of the unit whose values are multiplied
    int chunks_to_multiply, chunks_to_settle;
    F32 check;  // stays 0 where sums are finite
  };

  [[gnu::always_inline]] Step begin_step(const FewUnits& units) const {
    const uint32_t number = units.now - 2;
    const bool settles = units.exists(number - 1) && settled_ == number - 1;
    return {number, units.exists(number) ? chunks_ : 0, settles ? chunks_ : 0, broadcast(0.0f)};
  }
  // Adds the sums of the oldest unit.
  [[gnu::always_inline]] void beside(const FewUnits&, int chunk, Step& step) const {
    if (chunk < step.chunks_to_settle) settle(step.number - 1, chunk, step.check);
  }
  [[gnu::always_inline]] void multiply(const FewUnits& units, int chunk, const Step& step) const {
    if (chunk >= step.chunks_to_multiply) return;
    const uint32_t number = step.number;
    const FewUnit& unit = units[number];
    const char* weights = weights_of(number);
    if (chunk == 0) {
      load_tile<6>(weights);
      load_tile<7>(weights + kTileBytes);
    }
    clear_tile<4>();
    load_tile<3>(unit.values[0].first + chunk * kTileRowBytes, unit.values[0].stride);
    product<4, 6, 3>();
    load_tile<3>(unit.values[1].first + chunk * kTileRowBytes, unit.values[1].stride);
    product<4, 7, 3>();
    store_tile<4>(sums_of(number) + chunk * kColumnRows * kWidth);
  }
  [[gnu::always_inline]] void end_step(const FewUnits& units, const Step& step) {
    if (step.chunks_to_settle > 0) finish_settling(units, step.check);
  }

  // The outputs have all units before this one.
  void complete(const FewUnits& units, uint32_t unit) {
    if (!units.exists(unit - 1)) return;
    F32 check = broadcast(0.0f);
    for (int c = 0; c < chunks_; ++c) settle(unit - 1, c, check);
    finish_settling(units, check);
  }
  void rescale(int, const float (&factors)[kWidth]) const {
    float* o = outputs();
    for (int i = 0; i < num_outputs(); ++i, o += kWidth)
      store(o, load(o) * broadcast(factors[i % kRows]));
  }

  // Those of a unit, rounded in the upper halves of words; lane key x kRows + row.
  struct Weights {
    __m512i p[2 * kRows];
    [[gnu::always_inline]] void put(int index, F32 first, F32 second) {
      p[index] = rounded(first).v;
      p[kRows + index] = rounded(second).v;
    }
  };
  // For even columns, then for odd ones, of the first sixteen keys and of the others.
  [[gnu::always_inline]] void store_weights(const Weights& weights, uint32_t unit, int) const {
    char* to = weights_of(unit);
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, to += kTileBytes) {
      __m512i r[kRows];
      turn_weights<kRows>(weights.p + half * kRows, r);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        _mm512_store_si512(to + i * kTileRowBytes, _mm512_srli_epi32(r[i], 16));
        _mm512_store_si512(to + (kRows + i) * kTileRowBytes, _mm512_and_si512(r[i], upper));
      }
    }
  }

 private:
  static_assert(kRows <= 8, "a tile has the rows for even and for odd columns");
  static constexpr int kColumnRows = 2 * kRows;  // of outputs of 32 columns

  int num_outputs() const {
    return chunks_ * kColumnRows;
  }
  // [chunks][2 parities][kRows][16]; next: those that are being made
  float* outputs(int next = 0) const {
    return scratch_.outputs + (outputs_index_ ^ next) * num_outputs() * kWidth;
  }
  // Of a unit's products with its values, likewise.
  float* sums_of(uint32_t unit) const {
    return scratch_.sums + (unit & 1) * num_outputs() * kWidth;
  }
  char* weights_of(uint32_t unit) const {
    return scratch_.weights + unit % kRing * (2 * kTileBytes);
  }

  // Adds the sums of a unit and a chunk.
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
  // Of the oldest unit that is not settled.
  [[gnu::always_inline]] void finish_settling(const FewUnits& units, F32 check) {
    if (__builtin_expect(equal(check, check).bits != 0xffff, false))
      add_exactly(units[settled_]);
    else
      outputs_index_ ^= 1;
    ++settled_;
  }

  // Values that are not finite: once more, each row with what it sees alone.
  [[gnu::noinline]] void add_exactly(const FewUnit& unit) const {
    Seen seen;
    see_unit(unit, group_, seen);
    pack_unit(unit, task_.head_dim_v, places_.packed_values());
    collect_weights(settled_, scratch_.rounded);
    pair_weights(scratch_.rounded, places_.second_operand());
    give_outputs();
    configure_full_tiles();
    accumulate_exactly(group_, seen, 0, places_.packed_values(), 2 * chunks_,
                       places_.second_operand(), broadcast(1.0f));
    configure_tiles(layout());
    take_outputs();
  }
  // to: [32 keys][16 rows] in the upper halves of words
  void collect_weights(uint32_t unit, uint32_t* to) const {
    for (int half = 0; half < 2; ++half)
      for (int row = 0; row < kRows; ++row)
        for (int key = 0; key < 16; ++key) {
          uint32_t weight = 0;
          __builtin_memcpy(&weight,
                           weights_of(unit) + half * kTileBytes + row * kTileRowBytes + key * 4,
                           sizeof weight);
          to[(half * 16 + key) * kGroupRows + row] = weight << 16;
        }
  }

  // Of every four rows of outputs and four columns: where they stand in a state, and here.
  template <class Body>
  void each_square(const Body& body) const {
    for (int c = 0; c < chunks_; ++c)
      for (int odd = 0; odd < 2; ++odd)
        for (int n = 0; n < kWidth; n += 4)
          for (int r = 0; r < kRows; r += 4)
            body(r, group_.o + int64_t{c * kChunkDims + 2 * n + odd} * kGroupRows + r,
                 outputs() + ((c * 2 + odd) * kRows + r) * kWidth + n);
  }
  void take_outputs() const {
    each_square([](int, float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(columns + i * 2 * kGroupRows);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(rows + i * kWidth, r[i]);
    });
  }
  // Rows of the state that are not here become 0.
  void give_outputs() const {
    if constexpr (kRows == 4) return give_four();
    each_square([](int first, float* columns, float* rows) {
      __m128 r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_ps(rows + i * kWidth);
      _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
      for (int i = 0; i < 4; ++i) {
        float* column = columns + i * 2 * kGroupRows;
        first == 0 ? _mm512_storeu_ps(column, _mm512_zextps128_ps512(r[i]))
                   : _mm_storeu_ps(column, r[i]);
      }
    });
  }

  void give_four() const {
    const float* from = outputs();
    for (int c = 0; c < 2 * chunks_; ++c, from += 4 * kWidth) {
      float* to = group_.o + int64_t{c / 2 * kChunkDims + c % 2} * kGroupRows;
      __m512i r[4];
      for (int i = 0; i < 4; ++i) r[i] = _mm512_load_si512(from + i * kWidth);
      turn_four(
          r, [&](int n, __m512i rows) __attribute__((always_inline)) {
            _mm512_storeu_si512(to + n * 2 * kGroupRows, rows);
          });
    }
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const FewPlaces places_;
  const Group group_;
  const int chunks_;
  int outputs_index_ = 0;
  uint32_t settled_ = 0;  // units whose sums are in the outputs
};

}  // namespace pagoda::cpu::PAGODA_ISA

// Values of the pipeline of few rows in pairs of key j and key 16 + j.
//
//     O [rows, 16 columns] += pairs of weights x pairs of rows of values
//
// Pairing takes an instruction and a store for each line, and saves half of the products and all
// sums outside of tiles that values in place need: with four rows it loses, with 16 it gains. Rows
// that are no whole tiles have to be copied in any case.
#pragma once

#include "amx_unit.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// kRows: 8 or 16 of a group, of which there are one or two; two have 16 rows each
template <int kRows, int kNumGroups>
class PairedValues {
 public:
  static constexpr int kGroups = kNumGroups;
  static constexpr int kPlaces = 3;
  static constexpr int kAhead = 0;  // units that enter before a unit's values are read
  // Of keys and values, to ask for. With many rows every line is faster by a twentieth at best, but
  // as soon as memory is slow for a while, slower by a third: the work of a unit takes nearly as
  // long as its way from memory, and waits where too much has been asked for.
  static constexpr int kLinesApart = kRows == 8 ? 1 : 2;
  static constexpr int kPairs = kUnitKeys / 2;

  PairedValues(const AttendTask& task, const AmxScratch& scratch)
      : task_(task),
        scratch_(scratch),
        places_(task, scratch),
        chunks_(places_.chunks_v()),
        pairs_beside_(share_of(kPairs, larger(places_.chunks(), chunks_))) {}

  // Tiles 0 and 1 are scores, 2 queries, 3 keys or values, 4 weights, 5 values, 6 and 7 outputs;
  // those of two groups are all full, and their use is below and in amx_pipeline.inl.h.
  static constexpr TileLayout layout() {
    TileLayout it;
    for (int tile = 0; tile < 3; ++tile) it.set(tile, kTileRows, kRows * 4);
    for (int tile = 3; tile < 6; ++tile) it.set(tile, kTileRows, kTileRowBytes);
    it.set(4, kRows, kTileRowBytes);
    for (int tile = 6; tile < 8; ++tile) it.set(tile, kRows, kTileRowBytes);
    return it;
  }

  void begin() const {
    if (task_.continues) {
      for (int g = 0; g < kGroups; ++g) take_outputs(g);
      return;
    }
    for (int i = 0; i < kGroups * chunks_ * 2 * kRows; ++i)
      store(scratch_.outputs + i * kWidth, broadcast(0.0f));
  }
  void end() const {
    for (int g = 0; g < kGroups; ++g) give_outputs(g);
  }

  // Whether a product with a weight of 0 would show a row what it does not see.
  void enter(const FewUnit& unit, uint32_t number) {
    exact_[number % kRing] =
        !unit.whole && !(are_finite(unit.values[0]) && are_finite(unit.values[1]));
  }

  // Of the pipeline.
  struct Step {
    uint32_t number;  // of the unit whose values are multiplied
    bool pairs, multiplies, exact;
  };

  [[gnu::always_inline]] Step begin_step(const FewUnits& units) const {
    const uint32_t number = units.now - 2;
    const bool exists = units.exists(number), exact = exists && exact_[number % kRing];
    if (kGroups == 1 && exists) load_tile<4>(weights_of(number));
    return {number, units.exists(number + 1), exists && !exact, exact};
  }
  // Pairs a share of the next unit's values.
  [[gnu::always_inline]] void beside(const FewUnits& units, int chunk, const Step& step) const {
    if (!step.pairs) return;
    const uint32_t next = step.number + 1;
    const int first = chunk * pairs_beside_;
    for (int j = first; j < smaller(first + pairs_beside_, kPairs); ++j)
      pair(units[next], j, places_.pairs(next) + j * kTileRowBytes);
  }
  [[gnu::always_inline]] void multiply(const FewUnits&, int chunk, const Step& step) const {
    if (!step.multiplies || chunk >= chunks_) return;
    const char* pairs = places_.pairs(step.number) + chunk * 2 * kTileBytes;
    float* o = outputs(0) + chunk * 2 * kTileFloats;
    kGroups == 1 ? multiply_one(pairs, o)
                 : multiply_two(pairs, weights_of(step.number), o, o + chunks_ * 2 * kTileFloats);
  }
  void end_step(const FewUnits& units, const Step& step) const {
    if (__builtin_expect(step.exact, false)) add_exactly(units[step.number], step.number);
  }

  // The outputs have all units before this one: so they have at the end of each step.
  static void complete(const FewUnits&, uint32_t) {}
  void rescale(int group, const float (&factors)[kWidth]) const {
    float* o = outputs(group);
    for (int i = 0; i < chunks_ * 2 * kRows; ++i, o += kWidth)
      store(o, load(o) * broadcast(factors[i % kRows]));
  }

  // Those of a unit and a group in pairs, rounded; lane pair x kRows + row.
  struct Weights {
    __m512i pairs[kRows];
    [[gnu::always_inline]] void put(int index, F32 first, F32 second) {
      pairs[index] = rounded_pair(first, second);
    }
  };
  [[gnu::always_inline]] void store_weights(const Weights& weights, uint32_t unit,
                                            int group) const {
    __m512i r[kRows];
    turn_weights<kRows>(weights.pairs, r);
    char* to = weights_of(unit) + group * kTileBytes;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) _mm512_store_si512(to + i * kTileRowBytes, r[i]);
  }

 private:
  static constexpr int kTileFloats = kRows * kWidth;  // of a tile of outputs

  // [2 x chunks][kRows][16 columns]: column n = 4 q + w of tile t is column 8 q + w of its chunk,
  // or 4 more for odd t, as the instructions that make pairs have it.
  float* outputs(int group) const {
    return scratch_.outputs + int64_t{group} * chunks_ * 2 * kTileFloats;
  }
  static int column_of(int tile, int n) {
    return tile / 2 * kChunkDims + tile % 2 * 4 + n / 4 * 8 + n % 4;
  }
  // [kGroups] tiles of rows of pairs
  char* weights_of(uint32_t unit) const {
    return scratch_.weights + (unit & 1) * kGroups * kTileBytes;
  }

  // Row j of both halves. In the order in which they lie memory is read best.
  [[gnu::always_inline]] void pair(const FewUnit& unit, int j, char* to) const {
    const char* a = unit.values[0].first + j * unit.values[0].stride;
    const char* b = unit.values[1].first + j * unit.values[1].stride;
    for (int c = 0; c < chunks_; ++c, to += 2 * kTileBytes) {
      const __m512i first = load_halves(a, c * kChunkDims, task_.head_dim_v);
      const __m512i second = load_halves(b, c * kChunkDims, task_.head_dim_v);
      _mm512_store_si512(to, _mm512_unpacklo_epi16(first, second));
      _mm512_store_si512(to + kTileBytes, _mm512_unpackhi_epi16(first, second));
    }
  }

  // Two tiles of outputs. Tile 4 is the weights, and tiles 2 and 3 are not of products of keys.
  [[gnu::always_inline]] static void multiply_one(const char* pairs, float* o) {
    load_tile<6>(o);
    load_tile<3>(pairs);
    product<6, 4, 3>();
    load_tile<7>(o + kTileFloats);
    load_tile<5>(pairs + kTileBytes);
    product<7, 4, 5>();
    store_tile<6>(o);
    store_tile<7>(o + kTileFloats);
  }
  // Of both groups. Tiles 0 to 3 are their scores.
  [[gnu::always_inline]] static void multiply_two(const char* pairs, const char* weights, float* o,
                                                  float* behind) {
    load_tile<4>(pairs);
    load_tile<5>(weights);
    load_tile<6>(o);
    product<6, 5, 4>();
    load_tile<5>(weights + kTileBytes);
    load_tile<7>(behind);
    product<7, 5, 4>();
    store_tile<6>(o);
    load_tile<4>(pairs + kTileBytes);
    load_tile<6>(behind + kTileFloats);
    product<6, 5, 4>();
    store_tile<7>(behind);
    load_tile<5>(weights);
    load_tile<7>(o + kTileFloats);
    product<7, 5, 4>();
    store_tile<6>(behind + kTileFloats);
    store_tile<7>(o + kTileFloats);
  }

  [[gnu::noinline]] bool are_finite(const TileRows& values) const {
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < kTileRows; ++i)
      for (int c = 0; c < chunks_; ++c) {
        const __m512i line =
            load_halves(values.first + i * values.stride, c * kChunkDims, task_.head_dim_v);
        most = _mm512_max_epu16(most, _mm512_and_si512(line, _mm512_set1_epi16(0x7fff)));
      }
    return _mm512_cmpge_epu16_mask(most, _mm512_set1_epi16(kInfinityBits)) == 0;
  }

  // Each row with what it sees alone.
  [[gnu::noinline]] void add_exactly(const FewUnit& unit, uint32_t number) const {
    char *values = places_.packed_values(), *weights = places_.second_operand();
    pack_unit(unit, task_.head_dim_v, values);
    configure_full_tiles();
    for (int g = 0; g < kGroups; ++g) {
      const Group group = group_of(task_, g * kGroupRows);
      Seen seen;
      see_unit(unit, group, seen);
      __m512i r[16];
      for (int i = 0; i < 16; ++i)
        r[i] = i < kRows
                   ? _mm512_load_si512(weights_of(number) + g * kTileBytes + i * kTileRowBytes)
                   : _mm512_setzero_si512();
      transpose(r);
      for (int i = 0; i < 16; ++i) _mm512_store_si512(weights + i * kTileRowBytes, r[i]);
      give_outputs(g);
      accumulate_exactly(group, seen, 0, values, 2 * chunks_, weights, broadcast(1.0f));
      take_outputs(g);
    }
    configure_tiles(layout());
  }

  void take_outputs(int group) const {
    const float* o = group_of(task_, group * kGroupRows).o;
    float* to = outputs(group);
    for (int t = 0; t < 2 * chunks_; ++t, to += kTileFloats) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(o + column_of(t, i) * kGroupRows);
      transpose(r);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) _mm512_store_si512(to + i * 16, r[i]);
    }
  }
  // Rows of the state that are not here become 0.
  void give_outputs(int group) const {
    float* o = group_of(task_, group * kGroupRows).o;
    const float* from = outputs(group);
    for (int t = 0; t < 2 * chunks_; ++t, from += kTileFloats) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        r[i] = i < kRows ? _mm512_load_si512(from + i * 16) : _mm512_setzero_si512();
      transpose(r);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(o + column_of(t, i) * kGroupRows, r[i]);
    }
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const FewPlaces places_;
  const int chunks_, pairs_beside_;
  bool exact_[kRing] = {};
};

}  // namespace pagoda::cpu::PAGODA_ISA

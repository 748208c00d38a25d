// The softmax of the tiles' kernels. Products come transposed, [keys][16 rows], so that rows are
// lanes and nothing is ever reduced across a vector.
//
// What a row computes for a unit of 32 keys, whatever path it takes and whatever stands beside it:
//
//     s     products of the row with the keys, over dimensions in steps of 32
//     if m is -inf: m = the largest logit of the keys it sees, less the headroom
//     p     2^(s * scale * log2(e) - m * log2(e)); 0 for a key that it does not see. With gentle
//           slopes m * log2(e) less the bias takes the place of m * log2(e) (sloped)
//     sum   (p0 + p1) + (p2 + p3), where p_k sums the keys j = k mod 4 of the first sixteen, each
//           followed by key 16 + j
//     if sum > kMostSum: m rises to the largest logit, less the headroom; l and o are scaled, and p
//           starts over
//     l    += sum
//     o    += sum of p v over the first 16 keys + over the second 16, with p rounded to the tiles'
//           element. Where values have scales, p is multiplied by them and divided by `range`, a
//           power of two, before it is rounded, and the sum is multiplied by it (range_of)
//
// The maximum rises late so that it rises rarely, and nobody has to look for it: p then is up to
// kMostSum, which neither floats nor the tiles' element mind. m is what was subtracted, as in
// core/state.h, not the largest logit; the headroom of a narrow element uses all of its range.
//
// Units come in the order of their keys, or from the last to the first where task.descends: ALiBi
// adds most to the keys nearest to the row, so m is there with the first unit and rises no more.
// The other way round it would rise in nearly every unit.
#pragma once

#include "amx_score.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr float kLog2E = 0x1.715476p+0f;

// 2^(i / 32)
alignas(64) constexpr float kPowers[32] = {
    0x1p+0f,        0x1.059b0ep+0f, 0x1.0b5586p+0f, 0x1.11301ep+0f, 0x1.172b84p+0f, 0x1.1d4874p+0f,
    0x1.2387a6p+0f, 0x1.29e9ep+0f,  0x1.306fep+0f,  0x1.371a74p+0f, 0x1.3dea64p+0f, 0x1.44e086p+0f,
    0x1.4bfdaep+0f, 0x1.5342b6p+0f, 0x1.5ab07ep+0f, 0x1.6247ecp+0f, 0x1.6a09e6p+0f, 0x1.71f75ep+0f,
    0x1.7a1148p+0f, 0x1.82589ap+0f, 0x1.8ace54p+0f, 0x1.93737cp+0f, 0x1.9c4918p+0f, 0x1.a5503cp+0f,
    0x1.ae89fap+0f, 0x1.b7f77p+0f,  0x1.c199bep+0f, 0x1.cb720ep+0f, 0x1.d5818ep+0f, 0x1.dfc974p+0f,
    0x1.ea4afap+0f, 0x1.f50766p+0f};

// 2^t for t up to 127 that is not subnormal, within 2^-22; exactly 1 for 0, and 0 for -inf. From a
// table of 32 powers, and for what t is beyond a 32nd a polynomial fitted to the least relative
// error with 1 as its first coefficient. While tiles are multiplied, multiplications of vectors
// have one port left, and the table is on another: a polynomial for all of the fraction takes five
// steps on the former.
[[gnu::always_inline]] inline F32 exp2(F32 t) {
  const F32 f = beyond_32nds(t), power = word_of_32nds(kPowers, t);
  const F32 slope = fma(broadcast(0x1.f0f7f2p-3f), f, broadcast(0x1.62e118p-1f));
  return scale_by_floor(fma(slope * f, power, power), t);
}

// Of floats: the bits but for the sign, in the order of their sizes.
[[gnu::always_inline]] inline __m512i size_bits(__m512i floats) {
  return _mm512_and_si512(floats, _mm512_set1_epi32(0x7fffffff));
}

// The power of two just above numbers that are given by their bits, as far as it and its inverse
// exist, in units of kScaledValuesUnit.
[[gnu::always_inline]] inline F32 power_above(__m512i bits) {
  const __m512i exponent = _mm512_add_epi32(_mm512_srli_epi32(bits, 23), _mm512_set1_epi32(1));
  const __m512i within = _mm512_max_epu32(_mm512_min_epu32(exponent, _mm512_set1_epi32(253)),
                                          _mm512_set1_epi32(kScaledValuesExponent + 1));
  return {_mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_sub_epi32(within, _mm512_set1_epi32(kScaledValuesExponent)), 23))};
}
// Of the power itself.
[[gnu::always_inline]] inline F32 inverse_of_power(F32 power) {
  const __m512i one = _mm512_set1_epi32((254 - kScaledValuesExponent) << 23);
  return {_mm512_castsi512_ps(_mm512_sub_epi32(one, _mm512_castps_si512(power.v)))};
}

// Rows of a task whose lanes stand in one vector, with their state.
struct Group {
  int first, rows;  // rows [first, first + rows), at most 16
  float *m, *l;     // [16]
  float* o;         // [padded head_dim_v][16]
};

// Which of 16 rows see which keys of a tile.
struct Seen {
  uint64_t any, all;                     // keys that some row sees; that all of them see
  alignas(64) uint16_t rows[kTileKeys];  // rows that see the key; set unless any == all

  bool is_uniform() const { return any == all; }
  uint16_t rows_of(int key) const {
    if (is_uniform()) return static_cast<uint16_t>((any >> key & 1) != 0 ? 0xffff : 0);
    return rows[key];
  }
};

// words: [16] keys that each row sees. Rows that do not exist see what the first does.
inline void see_group(uint64_t (&words)[kGroupRows], int count, Seen& seen) {
  seen.any = 0;
  seen.all = ~uint64_t{0};
  for (int i = 0; i < count; ++i) {
    seen.any |= words[i];
    seen.all &= words[i];
  }
  if (seen.is_uniform()) return;
  for (int i = count; i < kGroupRows; ++i) words[i] = words[0];
  const __m512i low = _mm512_loadu_si512(words), high = _mm512_loadu_si512(words + 8);
  __m512i bit = _mm512_set1_epi64(1);
  for (int key = 0; key < kTileKeys; ++key, bit = _mm512_add_epi64(bit, bit)) {
    const unsigned upper = _mm512_test_epi64_mask(high, bit);
    seen.rows[key] = static_cast<uint16_t>(_mm512_test_epi64_mask(low, bit) | upper << 8);
  }
}

// What stands between products and weights is the same for all tiles of a task.
struct Logits {
  const AttendTask& task;
  const float* query_units;  // of packed rows, [num_rows, padded]; null: all are 1
  // Nothing but a positive scale: logits need not be computed, the scale joins the exponent.
  bool plain;
  // Nothing else but a linear bias with gentle slopes: it joins the exponent as well, as that of
  // the unit's first key and the rest. Steep slopes would leave the rounding of one in the other.
  bool sloped;
  // Neither, but a few operations on each product alone make a logit of it.
  bool quick;

  Logits(const AttendTask& task, const float* units_of_rows)
      : task(task),
        query_units(kIsNarrow ? units_of_rows : nullptr),
        plain(has_plain_scale(task.scale) && task.query_scale == nullptr && task.softcap == 0 &&
              task.bias == Bias::none && task.score.apply == nullptr &&
              task.keys.scales == nullptr && task.values.scales == nullptr),
        sloped(has_plain_scale(task.scale) && task.query_scale == nullptr && task.softcap == 0 &&
               task.bias == Bias::linear && task.is_gentle && task.score.apply == nullptr &&
               task.keys.scales == nullptr && task.values.scales == nullptr && task.num_ranks == 1),
        quick(!plain && !sloped && task.softcap > 0 && task.scale > 0 &&
              task.query_scale == nullptr && task.bias != Bias::sqrt &&
              task.score.apply == nullptr && task.keys.scales == nullptr &&
              task.values.scales == nullptr && task.num_ranks == 1 &&
              task.position[task.num_rows - 1] < kMostQuickPosition) {}

  // Scores stay products.
  bool are_products() const { return plain || sloped; }

  // What s is multiplied by to be an exponent of 2.
  F32 exponent_scale(int first_row) const {
    return are_products() ? with_units(task.scale * kLog2E, first_row) : broadcast(kLog2E);
  }
  // And to be a logit, but for the bias.
  F32 logit_scale(int first_row) const {
    return are_products() ? with_units(task.scale, first_row) : broadcast(1.0f);
  }

  // Of the rows [first_row, first_row + 16).
  F32 with_units(float scale, int first_row) const {
    const F32 it = broadcast(scale);
    return query_units != nullptr ? it * load(query_units + first_row) : it;
  }

 private:
  // Up to here distances are floats, and so are their sums with small numbers.
  static constexpr int kMostQuickPosition = 1 << 24;

  // A product with the unit of a row is a float of full precision.
  static bool has_plain_scale(float scale) {
    return kIsNarrow ? scale >= 0x1p-20f && scale <= 0x1p12f : scale > 0;
  }
};

// Position of a key of this rank. The formula is position_of of core/shard.h, which is not included
// here.
inline int64_t position_of_key(const AttendTask& task, int key) {
  if (task.num_ranks == 1) return key;
  const int64_t round = key / task.interleave, within = key % task.interleave;
  return (round * task.num_ranks + task.rank) * task.interleave + within;
}

inline F32 per_row(const float* numbers, const Group& group, float otherwise) {
  if (numbers == nullptr) return broadcast(otherwise);
  return {_mm512_castsi512_ps(lanes_of_rows(numbers, group.first, group.rows))};
}

// Positions of a group's rows.
inline __m512i positions_of(const AttendTask& task, const Group& group) {
  return lanes_of_rows(task.position, group.first, group.rows);
}

// s less or more what ALiBi says. distance: key position - query position
[[gnu::always_inline]] inline F32 biased(Bias bias, F32 s, F32 slope, F32 distance) {
  if (bias == Bias::linear) return fma(slope, distance, s);
  const F32 back = max(broadcast(0.0f) - distance, broadcast(0.0f));
  return fnma(slope, sqrt(back), s);
}

// cap * tanh(s / cap). Most logits are small beside the cap, where a polynomial is enough.
[[gnu::always_inline]] inline F32 capped_near(F32 s, F32 inverse_cap, F32& z) {
  const F32 x = s * inverse_cap;
  z = x * x;
  return fma(s, tanh_excess(z), s);
}

inline F32 capped(F32 s, F32 inverse_cap, F32 cap) {
  F32 z;
  const F32 near = capped_near(s, inverse_cap, z);
  const Lanes far = less(broadcast(kMostNear), z);
  if (far.bits == 0) return near;
  return select(far, cap * fast_tanh(s * inverse_cap), near);
}

// What a group's rows have for the linear bias of a unit.
struct Slopes {
  F32 slope, of_exponent;
  __m512i positions;

  Slopes() = default;
  Slopes(const AttendTask& task, const Group& group)
      : slope(per_row(task.slope, group, 0.0f)),
        of_exponent(slope * broadcast(kLog2E)),
        positions(positions_of(task, group)) {}

  // Of a key from the rows' positions.
  F32 distance(int key) const {
    return {_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(key), positions))};
  }
  // What is subtracted from the exponent of a unit's first key, given what is without a bias.
  F32 first_shift(F32 shift, int first_key) const {
    return fnma(of_exponent, distance(first_key), shift);
  }
  // And from that of key number `key`.
  [[gnu::always_inline]] static F32 shift(F32 of_exponent, F32 key, F32 first_shift) {
    return fnma(of_exponent, key, first_shift);
  }
};

// What makes logits of the products of a group quickly: the same as make_logits, operation by
// operation, but for those near the cap, which are only found.
struct QuickLogits {
  F32 scale, inverse_cap;
  Slopes slopes;
  bool is_biased;

  QuickLogits() = default;
  QuickLogits(const Logits& logits, const Group& group)
      : scale(logits.with_units(logits.task.scale, group.first)),
        inverse_cap(broadcast(1.0f / logits.task.softcap)),
        slopes(logits.task, group),
        is_biased(logits.task.bias != Bias::none) {}

  // most: rises to kMostNear and above if the logit is near the cap, and not what is returned
  [[gnu::always_inline]] F32 logit(F32 product, F32 distance, F32& most) const {
    F32 z;
    const F32 s = capped_near(product * scale, inverse_cap, z);
    most = max(z, most);
    return is_biased ? fma(slopes.slope, distance, s) : s;
  }
};

// Hands each row's logits to the caller's expression. scores: [kTileKeys, 16]
inline void rescore(const AttendTask& task, const Group& group, int tile, float* scores) {
  alignas(64) float row[kTileKeys];
  for (int i = 0; i < group.rows; ++i) {
    for (int key = 0; key < kTileKeys; ++key) row[key] = scores[key * kGroupRows + i];
    task.score.apply(task.score.context, group.first + i, tile, row);
    for (int key = 0; key < kTileKeys; ++key) scores[key * kGroupRows + i] = row[key];
  }
}

// Products of `units` units of keys from `first_key` on become logits, unless they are used as they
// are. With an expression that is not there as steps the keys are a whole tile.
inline void make_logits(const Logits& logits, const Group& group, const TileScales& scales,
                        int first_key, int units, float* scores) {
  const AttendTask& task = logits.task;
  const F32 scale =
      logits.with_units(task.scale, group.first) * per_row(task.query_scale, group, 1.0f);
  const F32 slope = per_row(task.slope, group, 0.0f);
  const __m512i positions = positions_of(task, group);
  const bool is_capped = task.softcap > 0;
  const F32 cap = broadcast(task.softcap);
  const F32 inverse_cap = broadcast(is_capped ? 1.0f / task.softcap : 0.0f);
  const Bias bias = task.bias;
  for (int key = 0; key < units * kUnitKeys; ++key) {
    float* at = scores + key * kGroupRows;
    F32 s = load(at);
    if (scales.keys != nullptr) s = s * broadcast(scales.keys[key]);
    s = s * scale;
    if (is_capped) s = capped(s, inverse_cap, cap);
    if (bias != Bias::none) {
      const auto position = static_cast<int>(position_of_key(task, first_key + key));
      const __m512i distance = _mm512_sub_epi32(_mm512_set1_epi32(position), positions);
      s = biased(bias, s, slope, {_mm512_cvtepi32_ps(distance)});
    }
    store(at, s);
  }
  if (task.score.steps != nullptr) {
    if (group.rows > 0)
      run_steps(*task.score.steps, group.first, group.rows, first_key, units, scores);
    return;
  }
  if (task.score.apply != nullptr) {
    for (int key = units * kUnitKeys; key < kTileKeys; ++key)
      store(scores + key * kGroupRows, broadcast(0.0f));
    rescore(task, group, first_key, scores);
  }
}

// -inf at what a row does not see of `count` keys from number `first` of the tile on.
inline void hide(const Seen& seen, int first, int count, float* scores) {
  const F32 hidden = broadcast(kMinusInfinity);
  for (int key = 0; key < count; ++key) {
    const uint16_t rows = seen.rows_of(first + key);
    if (rows == 0xffff) continue;
    float* at = scores + key * kGroupRows;
    store(at, select({rows}, load(at), hidden));
  }
}

// Of one unit.
inline F32 largest_of(const float* scores) {
  F32 largest[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) largest[i] = load(scores + i * kGroupRows);
#pragma GCC unroll 7
  for (int key = 4; key < kUnitKeys; key += 4)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) largest[i] = max(load(scores + (key + i) * kGroupRows), largest[i]);
  return max(max(largest[0], largest[1]), max(largest[2], largest[3]));
}

// The same of products with a linear bias.
inline F32 largest_sloped(const Slopes& slopes, F32 scale, int first_key, const float* scores) {
  F32 distance = slopes.distance(first_key), largest = broadcast(kMinusInfinity);
  for (int key = 0; key < kUnitKeys; ++key, distance = distance + broadcast(1.0f))
    largest = max(fma(slopes.slope, distance, load(scores + key * kGroupRows) * scale), largest);
  return largest;
}

// What m is set to for the unit of keys from `first_key` on.
inline F32 highest_of(const Logits& logits, const Group& group, int first_key,
                      const float* scores) {
  const F32 scale = logits.logit_scale(group.first);
  const F32 largest = logits.sloped
                          ? largest_sloped(Slopes(logits.task, group), scale, first_key, scores)
                          : largest_of(scores) * scale;
  return largest - broadcast(kHeadroom);
}

// Rows that have seen nothing take the maximum of their first unit. Their l and o are 0.
inline Lanes fresh_rows(const Group& group) {
  return equal(load(group.m), broadcast(kMinusInfinity));
}

inline void start_rows(const Logits& logits, const Group& group, int first_key,
                       const float* scores) {
  const Lanes fresh = fresh_rows(group);
  if (fresh.bits == 0) return;
  const F32 highest = highest_of(logits, group, first_key, scores);
  store(group.m, select(fresh, highest, load(group.m)));
}

inline Lanes rising_rows(F32 sum) {
  return less(broadcast(kMostSum), sum);
}

// m of these rows is set. Returns what l, which is scaled here, and o are to be multiplied by:
// exactly 1 for the others.
inline F32 set_maximum(const Group& group, Lanes rows, F32 to) {
  const F32 before = load(group.m), after = select(rows, to, before), log2e = broadcast(kLog2E);
  const F32 rescale = select(rows, exp2(before * log2e - after * log2e), broadcast(1.0f));
  store(group.m, after);
  store(group.l, load(group.l) * rescale);
  return rescale;
}

// m of these rows rises to what the unit asks for.
inline F32 raise_maximum(const Logits& logits, const Group& group, Lanes rising, int first_key,
                         const float* scores) {
  const F32 here = highest_of(logits, group, first_key, scores);
  const Lanes lower = less(load(group.m), here);
  return set_maximum(group, {static_cast<__mmask16>(rising.bits & lower.bits)}, here);
}

// What is subtracted from the exponents. A maximum of -inf means that nothing was seen yet:
// subtracting it would give NaN, so such rows subtract 0 and all their weights are 2^-inf = 0.
inline F32 shift_of(const Group& group) {
  const F32 m = load(group.m);
  return select(equal(m, broadcast(kMinusInfinity)), broadcast(0.0f), m * broadcast(kLog2E));
}

// The power of two above the largest scale of the values that each row sees in a unit: what weights
// with scales are divided by to be numbers of a narrow element. Otherwise 1. value_scales:
// [kUnitKeys] or null; seen: from key `first` on
inline F32 range_of(const float* value_scales, const Seen& seen, int first) {
  if (!kIsNarrow || value_scales == nullptr) return broadcast(1.0f);
  __m512i most = _mm512_setzero_si512();
  if (seen.is_uniform()) {
    const auto half = [&](int i) {
      const auto keys = static_cast<__mmask16>(seen.any >> (first + i));
      return _mm512_maskz_loadu_epi32(keys, value_scales + i);
    };
    most = _mm512_set1_epi32(static_cast<int>(
        _mm512_reduce_max_epu32(_mm512_max_epu32(size_bits(half(0)), size_bits(half(16))))));
  } else {
    for (int key = 0; key < kUnitKeys; ++key)
      most = _mm512_mask_max_epu32(most, seen.rows_of(first + key), most,
                                   size_bits(_mm512_castps_si512(broadcast(value_scales[key]).v)));
  }
  return power_above(most);
}

// Where rounded weights of the keys j and 16 + j of a unit go: in the upper halves of words,
// [kUnitKeys][16 rows], or together, [16][16 rows], as a second operand.
struct WeightsInWords {
  uint32_t* to;
  [[gnu::always_inline]] void put(int j, F32 first, F32 second) const {
    _mm512_store_si512(to + j * kGroupRows, rounded(first).v);
    _mm512_store_si512(to + (16 + j) * kGroupRows, rounded(second).v);
  }
};
struct WeightsInPairs {
  char* to;
  [[gnu::always_inline]] void put(int j, F32 first, F32 second) const {
    _mm512_store_si512(to + j * kTileRowBytes, rounded_pair(first, second));
  }
};

// Rounds the weights of a unit and returns their sum before that. scores: [kUnitKeys, 16];
// value_scales: [kUnitKeys] or null; tile_start: first key of the tile; seen: from its key `first`
// on; range: of the unit; weights: one of the above; beside: called now and then
template <class Weights, class Beside>
inline F32 weights_of(const Group& group, const Logits& logits, const float* value_scales,
                      const Seen& seen, int tile_start, int first, F32 range, const float* scores,
                      const Weights& weights, const Beside& beside) {
  const F32 scale = logits.exponent_scale(group.first);
  F32 shift = shift_of(group), slope = broadcast(0.0f);
  if (logits.sloped) {
    const Slopes slopes(logits.task, group);
    slope = slopes.of_exponent;
    shift = slopes.first_shift(shift, tile_start + first);
  }
  const F32 inverse = inverse_of_power(range);
  F32 sum[4];
#pragma GCC unroll 4
  for (F32& part : sum) part = broadcast(0.0f);
  const auto one = [&](int key, F32& part) __attribute__((always_inline)) {
    const F32 own =
        logits.sloped ? Slopes::shift(slope, broadcast(static_cast<float>(key)), shift) : shift;
    F32 p = exp2(fms(load(scores + key * kGroupRows), scale, own));
    part = part + p;
    if (value_scales != nullptr)
      p = select({seen.rows_of(first + key)}, p * (broadcast(value_scales[key]) * inverse),
                 broadcast(0.0f));
    return p;
  };
  for (int j = 0; j < 16; j += 4, beside())
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const F32 p = one(j + i, sum[i]);
      weights.put(j + i, p, one(16 + j + i, sum[i]));
    }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// The whole softmax of a unit of a tile. Returns whether m of a row rose; then `rescale` is for o.
template <class Weights, class Beside>
inline bool weigh(const Group& group, const Logits& logits, const float* value_scales,
                  const Seen& seen, int tile_start, int first, F32 range, const float* scores,
                  const Weights& weights, F32& rescale, const Beside& beside) {
  const auto make = [&](const auto& meanwhile) {
    return weights_of(group, logits, value_scales, seen, tile_start, first, range, scores, weights,
                      meanwhile);
  };
  start_rows(logits, group, tile_start + first, scores);
  F32 sum = make(beside);
  const Lanes rising = rising_rows(sum);
  if (rising.bits != 0) {
    rescale = raise_maximum(logits, group, rising, tile_start + first, scores);
    sum = make([] {});
  }
  store(group.l, load(group.l) + sum);
  return rising.bits != 0;
}

}  // namespace pagoda::cpu::PAGODA_ISA

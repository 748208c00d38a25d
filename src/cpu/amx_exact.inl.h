// Values that are not finite. A weight of 0 does not hide them, since 0 x NaN is NaN: what one row
// sees would reach its neighbours. In a tile with such values each row is multiplied with the
// values that it sees and with zeros for the others. Columns of the packed products depend on their
// own weights alone, so this gives a row the bits that it has everywhere.
#pragma once

#include "amx_scratch.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Weights of a unit as a second operand. rounded: [32 keys][16 rows]
inline void pair_weights(const uint32_t* rounded, char* weights) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int j = 0; j < 16; ++j) {
    const __m512i a = _mm512_load_si512(rounded + j * kGroupRows);
    const __m512i b = _mm512_load_si512(rounded + (16 + j) * kGroupRows);
    _mm512_store_si512(weights + j * kTileRowBytes,
                       _mm512_or_si512(_mm512_srli_epi32(a, 16), _mm512_and_si512(b, upper)));
  }
}

// The keys of a unit that a row does not see, a bit for each half of a word of packed values.
inline uint32_t hidden_halves(const Seen& seen, int unit, int lane) {
  uint32_t hidden = 0;
  for (int j = 0; j < kUnitKeys; ++j) {
    const int key = unit * kUnitKeys + j % 2 * 16 + j / 2;
    if ((seen.rows_of(key) >> lane & 1) == 0) hidden |= 1u << j;
  }
  return hidden;
}

// o of one row += values x weights of a unit, in units of range. values: [tiles] packed; weights:
// tile
inline void accumulate_lane(const char* values, int tiles, const char* weights, uint32_t hidden,
                            int lane, F32 range, float* o) {
  const Lanes own{static_cast<__mmask16>(1u << lane)};
  load_tile<2>(weights);
  for (int t = 0; t < tiles; ++t, o += 16 * kGroupRows, values += kTileBytes) {
    alignas(64) char shown[kTileBytes];
    alignas(64) float sums[16 * kGroupRows];
    for (int i = 0; i < 16; ++i)
      _mm512_store_si512(
          shown + i * kTileRowBytes,
          _mm512_maskz_mov_epi16(~hidden, _mm512_load_si512(values + i * kTileRowBytes)));
    clear_tile<0>();
    load_tile<1>(shown);
    product<0, 1, 2>();
    store_tile<0>(sums);
    for (int i = 0; i < 16; ++i) {
      float* at = o + i * kGroupRows;
      store(at, select(own, fma(load(sums + i * kGroupRows), range, load(at)), load(at)));
    }
  }
}

// All rows of a group.
inline void accumulate_exactly(const Group& group, const Seen& seen, int unit, const char* values,
                               int tiles, const char* weights, F32 range) {
  for (int lane = 0; lane < group.rows; ++lane)
    accumulate_lane(values, tiles, weights, hidden_halves(seen, unit, lane), lane, range, group.o);
}

}  // namespace pagoda::cpu::PAGODA_ISA

// Scores of int8 keys in whole numbers. A row of queries is rounded to multiples of the least power
// of two for which
//
//     a multiple has at most 16 bits               two int8 hold it: 256 high + low
//     the sizes of all add up to at most 2^17      times 128, no sum of products exceeds 2^24
//
// So every sum on the way to a score is exact, in a float as in a word and in any order, and a
// product of f16 tiles (many rows, rows that see different keys) and one of int8 tiles (decode)
// give the same bits. An element loses at most 1 / 32639 of the row's largest, or 1 / 130000 of the
// sum of their sizes if that is more; elements of bf16 of at least 2^7 multiples are exact.
#pragma once

#include "amx_tile.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Whether queries of such keys are whole.
constexpr bool are_whole(Element keys) {
  return kIsNarrow && keys == Element::int8;
}

constexpr float kMostWhole = 32639;      // 127 * 256 + 127
constexpr float kMostWholeSum = 130000;  // 2^17, less the rounding of 512 elements and of the sum
constexpr float kSmallestWhole = 0x1p-110f;  // of a row: its inverse is far from the largest float

// tdpbssd: c[m][n] += the sum of a[m][4 k + i] * b[k][4 n + i] over k < 16 and i < 4, of int8.
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void product_of_int8() {
  static_assert(kC != kA && kA != kB && kC != kB, "the three tiles of a product differ");
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

// Thirty-two elements from number `first` on, in order.
struct QueryFloats {
  F32 low, high;

  QueryFloats(Element element, const char* row, int first, int dim) {
    if (element == Element::bf16) {
      const __m512i halves = load_halves(row, first, dim);
      low = of_bf16(_mm512_castsi512_si256(halves));
      high = of_bf16(_mm512_extracti64x4_epi64(halves, 1));
      return;
    }
    const __m512i halves = load_query(element, row, first, dim, 1.0f);
    low = {_mm512_cvtph_ps(_mm512_castsi512_si256(halves))};
    high = {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))};
  }

 private:
  static F32 of_bf16(__m256i halves) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
  }
};

// What a row is multiplied by to be whole, a power of two. NaN if an element is not finite.
inline float whole_factor(Element element, const char* row, int dim) {
  constexpr float kShrunk = 0x1p-10f;  // sums of the largest floats are floats
  F32 sum = broadcast(0.0f), most = sum;
  for (int d = 0; d < dim; d += kChunkDims) {
    const QueryFloats it(element, row, d, dim);
    const F32 low = {_mm512_abs_ps(it.low.v)}, high = {_mm512_abs_ps(it.high.v)};
    sum = fma(low, broadcast(kShrunk), fma(high, broadcast(kShrunk), sum));
    most = max(low, max(high, most));
  }
  const float all = _mm512_reduce_add_ps(sum.v);
  if (!(all < __builtin_inff())) return __builtin_nanf("");
  const float from_sum = all * (1 / (kShrunk * kMostWholeSum));
  const float from_most = _mm512_reduce_max_ps(most.v) * (1 / kMostWhole);
  const float least = from_sum > from_most ? from_sum : from_most;
  if (least < kSmallestWhole) return 1 / kSmallestWhole;
  uint32_t bits;
  __builtin_memcpy(&bits, &least, sizeof bits);
  constexpr uint32_t kExponentOfOne = 127;
  const uint32_t inverse = (2 * kExponentOfOne - 1 - (bits >> 23)) << 23;  // below 1 / least
  float factor;
  __builtin_memcpy(&factor, &inverse, sizeof factor);
  return factor;
}

// Thirty-two elements as whole numbers of f16; zeros in a row whose factor says that it is NaN.
inline __m512i load_whole(Element element, const char* row, int first, int dim, float factor) {
  if (factor != factor) return _mm512_setzero_si512();
  const QueryFloats it(element, row, first, dim);
  const auto whole = [&](F32 x) {
    const __m512 rounded = _mm512_roundscale_ps((x * broadcast(factor)).v,
                                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvtps_ph(rounded, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  };
  return _mm512_inserti64x4(_mm512_castsi256_si512(whole(it.low)), whole(it.high), 1);
}

// A tile of int8 for 64 dimensions, [16 quads of dimensions][rows][4], from the two tiles of f16.
// Of up to 8 rows high and low parts stand side by side in one, of 16 in two.
template <int kRows>
inline void part_whole(const char* halves, char* to) {
  const auto words = [&](int pair) {
    const __m256i* it = reinterpret_cast<const __m256i*>(halves + pair * kTileRowBytes);
    const auto whole = [](__m256i h) {
      return _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(_mm512_cvtph_ps(h)));
    };
    return _mm512_inserti64x4(_mm512_castsi256_si512(whole(it[0])), whole(it[1]), 1);
  };
  const auto bytes = [](__m512i pair) { return _mm512_cvtepu16_epi32(_mm512_cvtepi16_epi8(pair)); };
  for (int quad = 0; quad < kTileRows; ++quad, to += kTileRowBytes) {
    __m512i low[2], high[2];
    for (int i = 0; i < 2; ++i) {
      const __m512i both = words(2 * quad + i);
      const __m512i rest = _mm512_srai_epi16(_mm512_slli_epi16(both, 8), 8);
      low[i] = bytes(rest);
      high[i] = bytes(_mm512_srai_epi16(_mm512_sub_epi16(both, rest), 8));
    }
    const auto quads = [](const __m512i(&pairs)[2]) {
      return _mm512_or_si512(pairs[0], _mm512_slli_epi32(pairs[1], 16));
    };
    const __m512i lows = quads(low), highs = quads(high);
    if constexpr (kRows == 16) {
      _mm512_store_si512(to, highs);
      _mm512_store_si512(to + kTileBytes, lows);
    } else if constexpr (kRows == 8) {
      _mm512_store_si512(to, _mm512_inserti64x4(highs, _mm512_castsi512_si256(lows), 1));
    } else {
      _mm512_store_si512(to, _mm512_inserti32x4(highs, _mm512_castsi512_si128(lows), 1));
    }
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

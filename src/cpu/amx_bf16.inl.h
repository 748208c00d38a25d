// bf16 as the element of the tiles: the products, the rounding of weights, and how queries and
// codes become it.
#pragma once

#include "amx_tile.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr Element kTileElement = Element::bf16;
constexpr uint16_t kInfinityBits = 0x7f80;

// Every number that meets a tile has its size in bf16 as well, and so has a weight with a scale.
constexpr bool kIsNarrow = false;

// The sum of a unit's weights above which m rises, and how far below the largest logit it is set.
constexpr float kMostSum = 256.0f;
constexpr float kHeadroom = 0.0f;

// The logarithm of scaled_values_unit of kernels.h.
constexpr int kScaledValuesExponent = 0;

template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void product() {
  static_assert(kC != kA && kA != kB && kC != kB, "the three tiles of a product differ");
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

// To the nearest, in the upper half of each word; halves go up. NaN stays NaN.
[[gnu::always_inline]] inline Words rounded(F32 p) {
  return {_mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_set1_epi32(0x8000))};
}

// The first in the lower halves of words, the second in the upper.
[[gnu::always_inline]] inline __m512i rounded_pair(F32 first, F32 second) {
  const __m512i low = _mm512_srli_epi32(rounded(first).v, 16);
  constexpr int kChoose = 0xca;  // the second where the first is set, otherwise the third
  return _mm512_ternarylogic_epi32(_mm512_set1_epi32(static_cast<int>(0xffff0000u)),
                                   rounded(second).v, low, kChoose);
}

// What a row of queries is multiplied by on its way into tiles.
inline float query_factor(Element, const char*, int) {
  return 1.0f;
}

// Sixteen codes as words with a float each; e4m3 comes 2^8 too small, as kernels.h says.
inline __m512i widen_codes(Element element, __m128i codes) {
  if (element == Element::int8)
    return _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)));
  const __m128i sign = _mm_set1_epi8(static_cast<char>(0x80));
  const __mmask16 nan = _mm_cmpeq_epi8_mask(_mm_or_si128(codes, sign), _mm_set1_epi8(-1));
  const __m256i half = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7),
                                        _mm256_set1_epi16(static_cast<short>(0xbf80)));
  return _mm512_mask_mov_epi32(_mm512_castps_si512(_mm512_cvtph_ps(half)), nan,
                               _mm512_set1_epi32(0x7fc00000));
}

// Thirty-two elements of a row of queries from number `first` on as bf16, which holds each exactly.
inline __m512i load_query(Element element, const char* row, int first, int dim, float) {
  if (element == Element::bf16) return load_halves(row, first, dim);
  const int left = dim - first;
  const __mmask32 lanes = left >= kChunkDims ? ~0u : (1u << left) - 1;
  const __m256i codes = _mm256_maskz_loadu_epi8(lanes, row + first);
  const __m512i low = widen_codes(element, _mm256_castsi256_si128(codes));
  const __m512i high = widen_codes(element, _mm256_extracti128_si256(codes, 1));
  return _mm512_inserti64x4(
      _mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_srli_epi32(low, 16))),
      _mm512_cvtepi32_epi16(_mm512_srli_epi32(high, 16)), 1);
}

// Two conversions of floats are as quick as parting words and joining them, and keep the order.
struct Int8ToHalves {
  static constexpr uint8_t kMostPlain = 255;
  [[gnu::always_inline]] static __m512i strangeness(const char*) { return _mm512_setzero_si512(); }

  [[gnu::always_inline]] static __m512i plain(const char* codes) {
    return (__m512i)_mm512_cvtne2ps_pbh(floats(codes + 16), floats(codes));
  }
  [[gnu::always_inline]] static __m512i any(const char* codes) { return plain(codes); }

 private:
  [[gnu::always_inline]] static __m512 floats(const char* codes) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
};

// A code is sign, four bits of exponent, three of mantissa: those of bf16 but for the exponent's
// bias and width. That leaves zero and the numbers below 2^-6, which have no leading one, and NaN.
struct E4m3ToHalves {
  // Neither 0 .. 7 nor 127, signs aside.
  static constexpr uint8_t kMostPlain = 126 - 8;
  [[gnu::always_inline]] static __m512i strangeness(const char* codes) {
    const __m512i size = _mm512_and_si512(_mm512_loadu_si512(codes), _mm512_set1_epi8(0x7f));
    return _mm512_sub_epi8(size, _mm512_set1_epi8(8));
  }

  [[gnu::always_inline]] static __m512i plain(const char* codes) { return shifted(wide(codes)); }

  // The bits of the eight smallest sizes are turned into those of the numbers that they are.
  static __m512i any(const char* codes) {
    const __m512i code = wide(codes);
    const __m512i fix = _mm512_broadcast_i32x4(
        _mm_setr_epi16(0x3800, 0x0f10, 0x0fa0, 0x0ff0, 0x0040, 0x0070, 0x0020, 0x0010));
    const __mmask32 small = _mm512_testn_epi16_mask(code, _mm512_set1_epi16(0x78));
    const __m512i fixed =
        _mm512_xor_si512(shifted(code), _mm512_maskz_permutexvar_epi16(small, code, fix));
    const __m512i nan = _mm512_set1_epi16(0x7f);
    return _mm512_mask_mov_epi16(fixed, _mm512_cmpeq_epi16_mask(_mm512_and_si512(code, nan), nan),
                                 _mm512_set1_epi16(0x7fc0));
  }

 private:
  [[gnu::always_inline]] static __m512i wide(const char* codes) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  }
  [[gnu::always_inline]] static __m512i shifted(__m512i code) {
    constexpr int kAndThenOr = 0xea;
    return _mm512_ternarylogic_epi32(_mm512_slli_epi16(code, 4),
                                     _mm512_set1_epi16(static_cast<short>(0x87f0)),
                                     _mm512_set1_epi16(0x3800), kAndThenOr);
  }
};

}  // namespace pagoda::cpu::PAGODA_ISA

// f16 as the element of the tiles: the products, the rounding of weights, and how queries and codes
// become it. Codes are two or three instructions away from f16. Its range is narrow, so powers of
// two are taken out of queries and of weights that have scales, and put back where floats are.
#pragma once

#include "amx_tile.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr Element kTileElement = Element::f16;
constexpr uint16_t kInfinityBits = 0x7c00;

// Queries have factors of their own, and weights with scales are taken in units of their largest.
constexpr bool kIsNarrow = true;

// The sum of a unit's weights above which m rises, and how far below the largest logit it is set.
// Weights then reach from 2^15 down to steps of 2^-24, and e^6 of the largest logit is near the
// top: what is lost of one that is small is below 2^-32 of it.
constexpr float kMostSum = 32768.0f;
constexpr float kHeadroom = 6.0f;

// The logarithm of scaled_values_unit of kernels.h. Numbers of f16 and codes are small beside the
// largest float; values with scales need not be, and with such weights their sums would overflow.
constexpr int kScaledValuesExponent = 8;

// tdpfp16ps, whose name assemblers of the time of AMX's first machines do not know.
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void product() {
  static_assert(kC != kA && kA != kB && kC != kB, "the three tiles of a product differ");
  __asm__ volatile(".byte 0xc4, 0xe2, %c0, 0x5c, %c1"
                   :
                   : "i"((~kB & 15) << 3 | 3), "i"(0xc0 | kC << 3 | kA));
}

inline __m256i to_f16(F32 a) {
  return _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// Thirty-two, in order.
inline __m512i to_f16(F32 low, F32 high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(to_f16(low)), to_f16(high), 1);
}

// To the nearest, in the upper half of each word; ties to even. NaN stays NaN.
[[gnu::always_inline]] inline Words rounded(F32 p) {
  return {_mm512_slli_epi32(_mm512_cvtepu16_epi32(to_f16(p)), 16)};
}

// The first in the lower halves of words, the second in the upper.
[[gnu::always_inline]] inline __m512i rounded_pair(F32 first, F32 second) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(to_f16(first)), rounded(second).v);
}

// What a row of queries is multiplied by on its way into tiles. Rows of bf16 have their largest
// element between 2^15 and 2^16, so that elements down to 2^-32 of it are exact. Factors of rows
// that are almost 0 end where what they are divided by later still is a float.
inline float query_factor(Element element, const char* row, int dim) {
  if (element != Element::bf16) return 1.0f;
  constexpr int kBias = 127, kTop = 15, kMostShift = 100;
  __m512i most = _mm512_setzero_si512();
  for (int d = 0; d < dim; d += kChunkDims)
    most = _mm512_max_epu16(most,
                            _mm512_and_si512(load_halves(row, d, dim), _mm512_set1_epi16(0x7fff)));
  const __m512i low = _mm512_and_si512(most, _mm512_set1_epi32(0xffff));
  const unsigned largest =
      _mm512_reduce_max_epu32(_mm512_max_epu32(low, _mm512_srli_epi32(most, 16)));
  const int shift = kTop + kBias - static_cast<int>(largest >> 7);
  return scale_by_floor(broadcast(1.0f), broadcast(shift < kMostShift ? shift : kMostShift)).v[0];
}

// Integers of 16 bits, and so are those of 8.
struct Int8ToHalves {
  static constexpr uint8_t kMostPlain = 255;
  [[gnu::always_inline]] static __m512i strangeness(const char*) { return _mm512_setzero_si512(); }

  [[gnu::always_inline]] static __m512i plain(const char* codes) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    return _mm512_castph_si512(_mm512_cvtepi16_ph(_mm512_cvtepi8_epi16(bytes)));
  }
  [[gnu::always_inline]] static __m512i any(const char* codes) { return plain(codes); }

  // The same of two rows of 64, in pairs: four vectors of [16 columns][2 rows], of which vector t
  // has columns 16 q + 8 (t / 2) + 2 w + t % 2. Of two neighbouring columns the first has the lower
  // halves of words, where a code above -128 is the mantissa of a number from 1024 on.
  [[gnu::always_inline]] static void plain_pairs(const char* a, const char* b, __m512i* pairs) {
    const __m512i codes_a = _mm512_loadu_si512(a), codes_b = _mm512_loadu_si512(b);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m512i both = i == 0 ? _mm512_unpacklo_epi16(codes_a, codes_b)
                                  : _mm512_unpackhi_epi16(codes_a, codes_b);
      constexpr int kAndThenXor = 0x78;  // of the second and third, with the first
      const __m512i from_1024 = _mm512_ternarylogic_epi32(_mm512_set1_epi16(0x6480), both,
                                                          _mm512_set1_epi16(0x00ff), kAndThenXor);
      const __m512h lowest = _mm512_castsi512_ph(_mm512_set1_epi16(0x6480));  // 1024 + 128
      pairs[2 * i] = _mm512_castph_si512(_mm512_sub_ph(_mm512_castsi512_ph(from_1024), lowest));
      pairs[2 * i + 1] = _mm512_castph_si512(_mm512_cvtepi16_ph(_mm512_srai_epi16(both, 8)));
    }
  }
  [[gnu::always_inline]] static void any_pairs(const char* a, const char* b, __m512i* pairs) {
    plain_pairs(a, b, pairs);
  }
};

// A code is sign, four bits of exponent, three of mantissa. Those of f16 lie in the same order, and
// the exponent's width makes it 2^8 too small; subnormals are subnormals. Only NaN is another.
struct E4m3ToHalves {
  static constexpr uint8_t kMostPlain = 0x7e;
  [[gnu::always_inline]] static __m512i strangeness(const char* codes) {
    return _mm512_and_si512(_mm512_loadu_si512(codes), _mm512_set1_epi8(kNan));
  }

  [[gnu::always_inline]] static __m512i plain(const char* codes) { return shifted(wide(codes)); }

  [[gnu::always_inline]] static __m512i any(const char* codes) {
    const __m512i code = wide(codes), nan = _mm512_set1_epi16(kNan);
    const __mmask32 is_nan = _mm512_cmpeq_epi16_mask(_mm512_and_si512(code, nan), nan);
    return _mm512_mask_mov_epi16(shifted(code), is_nan, _mm512_set1_epi16(0x7e00));
  }

  // Two rows in pairs, in the order of Int8ToHalves.
  [[gnu::always_inline]] static void plain_pairs(const char* a, const char* b, __m512i* pairs) {
    pairs_of(
        a, b, pairs, [](__m512i high) __attribute__((always_inline)) { return parted(high); });
  }
  static void any_pairs(const char* a, const char* b, __m512i* pairs) {
    pairs_of(
        a, b, pairs, [](__m512i high) __attribute__((always_inline)) {
          const __m512i nan = _mm512_set1_epi16(kNan << 8);
          const __mmask32 is_nan = _mm512_cmpeq_epi16_mask(_mm512_and_si512(high, nan), nan);
          return _mm512_mask_mov_epi16(parted(high), is_nan, _mm512_set1_epi16(0x7e00));
        });
  }

 private:
  static constexpr char kNan = 0x7f;  // but for the sign

  [[gnu::always_inline]] static __m512i wide(const char* codes) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  }
  // number: of codes in the upper halves of words of 16 bits
  template <class Number>
  [[gnu::always_inline]] static void pairs_of(const char* a, const char* b, __m512i* pairs,
                                              const Number& number) {
    const __m512i codes_a = _mm512_loadu_si512(a), codes_b = _mm512_loadu_si512(b);
    const __m512i low = _mm512_unpacklo_epi16(codes_a, codes_b);
    const __m512i high = _mm512_unpackhi_epi16(codes_a, codes_b);
    pairs[0] = number(_mm512_slli_epi16(low, 8));
    pairs[1] = number(low);
    pairs[2] = number(_mm512_slli_epi16(high, 8));
    pairs[3] = number(high);
  }
  // The bit between sign and exponent is a second sign.
  [[gnu::always_inline]] static __m512i parted(__m512i high) {
    return _mm512_and_si512(_mm512_srai_epi16(high, 1),
                            _mm512_set1_epi16(static_cast<short>(0xbf80)));
  }
  // Likewise.
  [[gnu::always_inline]] static __m512i shifted(__m512i code) {
    return _mm512_and_si512(_mm512_slli_epi16(code, 7),
                            _mm512_set1_epi16(static_cast<short>(0xbf80)));
  }
};

// Thirty-two elements of a row of queries from number `first` on, times the row's factor.
inline __m512i load_query(Element element, const char* row, int first, int dim, float factor) {
  if (element == Element::f16) return load_halves(row, first, dim);
  if (element == Element::bf16) {
    const __m512i pairs = load_halves(row, first, dim);
    const auto widened = [&](__m256i half) {
      const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
      return F32{_mm512_castsi512_ps(bits)} * broadcast(factor);
    };
    return to_f16(widened(_mm512_castsi512_si256(pairs)),
                  widened(_mm512_extracti64x4_epi64(pairs, 1)));
  }
  const int left = dim - first;
  const __mmask32 lanes = left >= kChunkDims ? ~0u : (1u << left) - 1;
  alignas(32) char codes[kChunkDims];
  _mm256_store_si256(reinterpret_cast<__m256i*>(codes),
                     _mm256_maskz_loadu_epi8(lanes, row + first));
  return element == Element::int8 ? Int8ToHalves::any(codes) : E4m3ToHalves::any(codes);
}

}  // namespace pagoda::cpu::PAGODA_ISA

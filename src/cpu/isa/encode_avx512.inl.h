// Rows of 16-bit floats to codes of one byte, 64 elements at a time: what a cache write of bf16 or
// f16 does. Pairs of elements are parted and joined within 32-bit words, which needs no shuffles.
//
// Finite rows alone are encoded here, those that are not by the loops of encode.inl.h. A product
// may still be infinite, and saturates.
#pragma once

namespace pagoda::cpu::avx512 {

constexpr bool kEncodesWords = true;

// (a & b) | c, for ternarylogic.
constexpr int kAndThenOr = 0xea;

// The even and the odd elements of 32 as floats, times 1 / kUnit.
inline void part_words(AsBf16, __m512i x, __m512& even, __m512& odd) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  even = _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(x, upper));
}
inline void part_words(AsF16, __m512i x, __m512& even, __m512& odd) {
  // Sign, five bits of exponent and mantissa to where a float has them.
  const __m512i lower = _mm512_srai_epi32(_mm512_slli_epi32(x, 16), 3);
  const __m512i upper = _mm512_srai_epi32(x, 3);
  const __m512 unit = _mm512_set1_ps(0x1p112f);
  const __m512i keep = _mm512_set1_epi32(static_cast<int>(0x8fffe000u));
  even = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_and_si512(lower, keep)), unit);
  odd = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_and_si512(upper, keep)), unit);
}

// The largest |x| of a row as the bits of its element, which order as the numbers do; those of NaN
// are above those of infinity.
inline uint32_t absmax_bits(const char* from, int n) {
  const __m512i size = _mm512_set1_epi16(0x7fff);
  __m512i most = _mm512_setzero_si512();
  int i = 0;
  for (; i + 32 <= n; i += 32)
    most = _mm512_max_epu16(most, _mm512_and_si512(_mm512_loadu_si512(from + 2 * i), size));
  if (i < n) {
    const __m512i rest = _mm512_maskz_loadu_epi16((1u << (n - i)) - 1, from + 2 * i);
    most = _mm512_max_epu16(most, _mm512_and_si512(rest, size));
  }
  const __m256i half =
      _mm256_max_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  const __m128i quarter =
      _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i ones = _mm_set1_epi16(-1);
  const __m128i least = _mm_minpos_epu16(_mm_xor_si128(quarter, ones));
  return ~static_cast<uint32_t>(_mm_cvtsi128_si32(least)) & 0xffff;
}

// The bits of infinity, and sizes below as floats.
constexpr uint32_t infinity_bits(AsBf16) {
  return 0x7f80;
}
constexpr uint32_t infinity_bits(AsF16) {
  return 0x7c00;
}
inline float float_of_bits(AsBf16, uint32_t bits) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(bits << 16))));
}
inline float float_of_bits(AsF16, uint32_t bits) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(bits))));
}

template <class E>
struct WordRow {
  // The largest size; false, and nothing, if the row is not finite.
  static bool absmax(const char* from, int n, float& most) {
    const uint32_t bits = absmax_bits(from, n);
    if (bits < infinity_bits(E{})) most = float_of_bits(E{}, bits);
    return bits < infinity_bits(E{});
  }
};

// Two vectors of 16-bit codes, each in the order of its elements by fours, as bytes in order.
inline __m512i join_lanes(__m512i bytes) {
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes);
}

// Codes of 32 numbers as 16-bit words, in an order that `join` of two such vectors undoes.
struct Int8Words {
  // Adding the float below 0.5 carries exactly the halves and what is above them to the next
  // integer; the packing saturates.
  [[gnu::always_inline]] static __m512i rounded(__m512 y) {
    const __m512i half =
        _mm512_ternarylogic_epi32(_mm512_castps_si512(y), _mm512_set1_epi32(INT32_MIN),
                                  _mm512_castps_si512(_mm512_set1_ps(0x1.fffffep-2f)), kAndThenOr);
    const __m512 sum = _mm512_add_ps(y, _mm512_castsi512_ps(half));
    return _mm512_cvttps_epi32(_mm512_min_ps(sum, _mm512_set1_ps(127)));
  }
  [[gnu::always_inline]] static __m512i words(__m512 even, __m512 odd) {
    return _mm512_packs_epi32(rounded(even), rounded(odd));
  }
  [[gnu::always_inline]] static __m512i join(__m512i a, __m512i b) {
    const __m512i pairs =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
    return join_lanes(_mm512_shuffle_epi8(_mm512_packs_epi16(a, b), pairs));
  }
};

// The upper halves of floats hold sign, exponent and seven bits of mantissa, of which e4m3 keeps
// three; a last bit that says whether anything was cut off makes rounding these words the same as
// rounding the floats.
struct E4m3Words {
  [[gnu::always_inline]] static __m512i words(__m512 even, __m512 odd) {
    constexpr __mmask32 kOdd = 0xaaaaaaaau;
    const __m512i a = _mm512_castps_si512(even), b = _mm512_castps_si512(odd);
    const __m512i top = _mm512_mask_blend_epi16(kOdd, _mm512_srli_epi32(a, 16), b);
    const __m512i cut = _mm512_mask_blend_epi16(kOdd, a, _mm512_slli_epi32(b, 16));
    const __m512i one = _mm512_set1_epi16(1);
    const __m512i size = _mm512_ternarylogic_epi32(top, _mm512_set1_epi16(0x7fff),
                                                   _mm512_min_epu16(cut, one), kAndThenOr);
    __m512i code = normal(_mm512_min_epu16(size, _mm512_set1_epi16(0x43e0)));
    const __mmask32 small = _mm512_cmplt_epu16_mask(size, _mm512_set1_epi16(0x3c80));
    if (__builtin_expect(small != 0, false))
      code = _mm512_mask_mov_epi16(code, small, subnormal(size));
    return _mm512_ternarylogic_epi32(_mm512_srli_epi16(top, 8), _mm512_set1_epi16(0x80), code,
                                     kAndThenOr);
  }
  [[gnu::always_inline]] static __m512i join(__m512i a, __m512i b) {
    return join_lanes(_mm512_packus_epi16(a, b));
  }

 private:
  // Sizes from 2^-6 to 448. To the nearest, ties to even, and from the exponent's bias to e4m3's.
  [[gnu::always_inline]] static __m512i normal(__m512i size) {
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(size, 4), _mm512_set1_epi16(1));
    const __m512i bump = _mm512_add_epi16(odd, _mm512_set1_epi16(7 - (120 << 7)));
    return _mm512_srli_epi16(_mm512_add_epi16(size, bump), 4);
  }
  // Sizes below 2^-6: the significand in units of 2^-9, likewise rounded.
  [[gnu::always_inline]] static __m512i subnormal(__m512i size) {
    const __m512i one = _mm512_set1_epi16(1);
    const __m512i significand = _mm512_ternarylogic_epi32(size, _mm512_set1_epi16(0x7f),
                                                          _mm512_set1_epi16(0x80), kAndThenOr);
    const __m512i places =
        _mm512_min_epu16(_mm512_sub_epi16(_mm512_set1_epi16(125), _mm512_srli_epi16(size, 7)),
                         _mm512_set1_epi16(15));
    const __m512i half =
        _mm512_sub_epi16(_mm512_sllv_epi16(one, _mm512_sub_epi16(places, one)), one);
    const __m512i odd = _mm512_and_si512(_mm512_srlv_epi16(significand, places), one);
    return _mm512_srlv_epi16(_mm512_add_epi16(significand, _mm512_add_epi16(half, odd)), places);
  }
};

inline Int8Words words_of(AsInt8) {
  return {};
}
inline E4m3Words words_of(AsE4m3) {
  return {};
}

template <class E, class Code>
class WordEncoder {
 public:
  // inverse: [n] of columns, or unused. n: elements of a row
  WordEncoder(const float* inverse, bool of_columns, int n) : n_(n), of_columns_(of_columns) {
    if (!of_columns) return;
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (int c = 0; c < n; c += 32) {
      const __m512 a = _mm512_maskz_loadu_ps(first_lanes(n - c).bits, inverse + c);
      const __m512 b = n - c > 16
                           ? _mm512_maskz_loadu_ps(first_lanes(n - c - 16).bits, inverse + c + 16)
                           : _mm512_setzero_ps();
      _mm512_store_ps(parted_ + c, _mm512_permutex2var_ps(a, even, b));
      _mm512_store_ps(parted_ + c + 16, _mm512_permutex2var_ps(a, odd, b));
      const __m512 zero =
          _mm512_fmadd_ps(_mm512_setzero_ps(), a, _mm512_mul_ps(b, _mm512_setzero_ps()));
      finite_ = finite_ && !any_nan({zero});
    }
  }

  // False, and whatever is written counts for nothing, if the row or what it is multiplied by is
  // not finite.
  bool row(float inverse, const char* from, char* to) const {
    const __m512 one = _mm512_set1_ps(inverse);
    if (of_columns_) return finite_ && encode<true>(one, from, to);
    return is_finite(inverse) && encode<false>(one, from, to);
  }

 private:
  using Words = decltype(words_of(Code{}));

  static bool is_finite(float x) { return x - x == 0; }

  template <bool kOfColumns>
  [[gnu::always_inline]] __m512i words(__m512i x, __m512 one, int column) const {
    __m512 even, odd;
    part_words(E{}, x, even, odd);
    const float* own = parted_ + column;
    return Words::words(_mm512_mul_ps(even, kOfColumns ? _mm512_load_ps(own) : one),
                        _mm512_mul_ps(odd, kOfColumns ? _mm512_load_ps(own + 16) : one));
  }

  // The codes of 64 elements; `most` grows to the largest of their sizes.
  template <bool kOfColumns>
  [[gnu::always_inline]] __m512i codes(__m512i a, __m512i b, __m512 one, int column,
                                       __m512i& most) const {
    const __m512i size = _mm512_set1_epi16(0x7fff);
    most = _mm512_max_epu16(most,
                            _mm512_max_epu16(_mm512_and_si512(a, size), _mm512_and_si512(b, size)));
    return Words::join(words<kOfColumns>(a, one, column), words<kOfColumns>(b, one, column + 32));
  }

  template <bool kOfColumns>
  bool encode(__m512 one, const char* from, char* to) const {
    __m512i most = _mm512_setzero_si512();
    int i = 0;
    for (; i + 64 <= n_; i += 64) {
      const __m512i a = _mm512_loadu_si512(from + 2 * i), b = _mm512_loadu_si512(from + 2 * i + 64);
      _mm512_storeu_si512(to + i, codes<kOfColumns>(a, b, one, i, most));
    }
    if (i != n_) {
      const __mmask64 rest = (1ull << (n_ - i)) - 1;
      const auto low = static_cast<__mmask32>(rest), high = static_cast<__mmask32>(rest >> 32);
      const __m512i a = _mm512_maskz_loadu_epi16(low, from + 2 * i);
      const __m512i b = _mm512_maskz_loadu_epi16(high, from + 2 * i + 64);
      _mm512_mask_storeu_epi8(to + i, rest, codes<kOfColumns>(a, b, one, i, most));
    }
    const __m512i infinity = _mm512_set1_epi16(static_cast<short>(infinity_bits(E{})));
    return _mm512_cmpge_epu16_mask(most, infinity) == 0;
  }

  alignas(64) float parted_[kMaxHeadDim];  // inverses, of each 32 columns the even ones first
  int n_;
  bool of_columns_, finite_ = true;
};

}  // namespace pagoda::cpu::avx512

// Vectors of 16 floats for AVX-512 F, BW, DQ, VL with FMA; the bodies below do the rest. Compiled
// with those flags, so it includes no standard header but the intrinsics (see kernels.h).
#define PAGODA_ISA avx512
#include "../kernels.h"
#include "vector512.inl.h"

namespace pagoda::cpu::avx512 {

// Register block of the matrix products: kBlockRows x (kBlockVectors * kWidth) sums stay in
// registers.
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = 4;
// Rows of a tile at most; changes speed, never results.
constexpr int kTileRows = 512;

// Lanes i of which bit i is set.
inline Lanes lanes_of(uint64_t bits) {
  return {static_cast<__mmask16>(bits)};
}

inline F32 iota() {
  return {_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
inline bool any_nan(F32 a) {
  return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q) != 0;
}
inline float reduce_max(F32 a) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  quarter = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
}
inline float reduce_add(F32 a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

// Six vectors at once: each is folded in the order of the two functions above.
constexpr bool kReducesTogether = true;
template <class Op>
inline void reduce_together(const float (&rows)[kBlockRows][16], float* numbers) {
  const auto fold = [](__m512 a, __m512 b) { return Op::of({a}, {b}).v; };
  const auto halves = [&](int r) {
    const __m512 a = _mm512_loadu_ps(rows[r]), b = _mm512_loadu_ps(rows[r + 1]);
    return fold(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  };
  const auto quarters = [&](__m512 a, __m512 b) {
    return fold(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  };
  const __m512 last = halves(4);
  const __m512 a = quarters(halves(0), halves(2)), b = quarters(last, last);
  const __m512 pairs = fold(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
  const __m512 all =
      fold(_mm512_shuffle_ps(pairs, pairs, 0x88), _mm512_shuffle_ps(pairs, pairs, 0xdd));
  // Of each quarter the first two lanes: rows 0 to 3, and rows 4 and 5.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm512_storeu_ps(numbers, _mm512_permutexvar_ps(order, all));
}

struct AsF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes lanes) { return {_mm512_maskz_loadu_ps(lanes.bits, p)}; }
  static void store(char* p, Lanes lanes, F32 a) { _mm512_mask_storeu_ps(p, lanes.bits, a.v); }
};

struct AsF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes lanes) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes.bits, p))};
  }
  static void store(char* p, Lanes lanes, F32 a) {
    _mm256_mask_storeu_epi16(p, lanes.bits,
                             _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

struct AsBf16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = true;
  static F32 load(const char* p, Lanes lanes) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes.bits, p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
  }
  // To the nearest, ties to even; a NaN stays one.
  static void store(char* p, Lanes lanes, F32 a) {
    const __m512i bits = _mm512_castps_si512(a.v);
    const __m512i top = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i bump = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bump), 16);
    const __m512i quiet = _mm512_or_si512(top, _mm512_set1_epi32(64));
    const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    const __m512i result = _mm512_mask_mov_epi32(rounded, nan, quiet);
    _mm256_mask_storeu_epi16(p, lanes.bits, _mm512_cvtepi32_epi16(result));
  }
};

// Sixteen bytes. A mask costs as much as the load, and few vectors are not whole.
inline __m128i load_bytes(const char* p, Lanes lanes) {
  if (__builtin_expect(lanes.bits == 0xffff, true))
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm_maskz_loadu_epi8(lanes.bits, p);
}

struct AsInt8 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes lanes) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_bytes(p, lanes)))};
  }
  // Half away from zero, clamped; a NaN becomes 0. Adding the float below 0.5 carries exactly the
  // halves and what is above them to the next integer.
  static void store(char* p, Lanes lanes, F32 a) {
    const __mmask16 number = _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q);
    const __m512 low = _mm512_max_ps(_mm512_maskz_mov_ps(number, a.v), _mm512_set1_ps(-128));
    const __m512 y = _mm512_min_ps(low, _mm512_set1_ps(127));
    const __m512 half =
        _mm512_or_ps(_mm512_and_ps(y, _mm512_set1_ps(-0.0f)), _mm512_set1_ps(0x1.fffffep-2f));
    const __m512i code = _mm512_cvttps_epi32(_mm512_add_ps(y, half));
    _mm512_mask_cvtepi32_storeu_epi8(p, lanes.bits, code);
  }
  // The four bytes of each word, each as a vector.
  static void part(F32 words, F32 (&bytes)[4]) {
    const __m512i w = _mm512_castps_si512(words.v);
    bytes[0].v = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(w, 24), 24));
    bytes[1].v = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(w, 16), 24));
    bytes[2].v = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(w, 8), 24));
    bytes[3].v = _mm512_cvtepi32_ps(_mm512_srai_epi32(w, 24));
  }
};

// Numbers are read 2^8 too small (kernels.h). The functions named finite read NaN codes as numbers.
struct AsE4m3 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;

  // The bits of an f16 of lower exponent bias, which may be subnormal.
  static F32 load_finite(const char* p, Lanes lanes) {
    const __m256i wide = _mm256_cvtepi8_epi16(load_bytes(p, lanes));
    const __m256i keep = _mm256_set1_epi16(static_cast<short>(0xbf80));
    return {_mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(wide, 7), keep))};
  }
  static F32 load(const char* p, Lanes lanes) {
    const __m128i bytes = _mm_maskz_loadu_epi8(lanes.bits, p);
    const __m128i all = _mm_or_si128(bytes, _mm_set1_epi8(static_cast<char>(0x80)));
    const __mmask16 nan = _mm_cmpeq_epi8_mask(all, _mm_set1_epi8(-1));
    return {_mm512_mask_mov_ps(load_finite(p, lanes).v, nan, _mm512_set1_ps(__builtin_nanf("")))};
  }
  // Of the first `count` bytes, up to 64.
  static bool any_nan(const char* p, int count) {
    const __mmask64 first = count >= 64 ? ~0ull : (1ull << count) - 1;
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    const __m512i bytes = _mm512_or_si512(_mm512_maskz_loadu_epi8(first, p), sign);
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(-1)) != 0;
  }
  static bool any_nan(const F32 (&words)[16]) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512i most = sign;
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      most = _mm512_max_epu8(most, _mm512_or_si512(_mm512_castps_si512(words[i].v), sign));
    return _mm512_cmpeq_epi8_mask(most, _mm512_set1_epi8(-1)) != 0;
  }
  // The four bytes of each word, each as a vector. Bytes become bf16 first: sign, 0111, exponent,
  // mantissa. Where the exponent is 0 those bits mean another number; a table of the eight
  // mantissas turns them into the right ones.
  static void part_finite(F32 words, F32 (&bytes)[4]) {
    const __m512i w = _mm512_castps_si512(words.v);
    const __m512i keep = _mm512_set1_epi16(static_cast<short>(0x87f0));
    const __m512i bias = _mm512_set1_epi16(0x3800), exponent = _mm512_set1_epi16(0x0780);
    const __m512i fix = _mm512_broadcast_i32x4(
        _mm_setr_epi16(0x3800, 0x0f10, 0x0fa0, 0x0ff0, 0x0040, 0x0070, 0x0020, 0x0010));
    constexpr int kAndOr = 0xea;
    __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 4), odd = _mm512_srai_epi16(w, 4);
    even = _mm512_ternarylogic_epi32(even, keep, bias, kAndOr);
    odd = _mm512_ternarylogic_epi32(odd, keep, bias, kAndOr);
    even = _mm512_xor_si512(
        even, _mm512_maskz_permutexvar_epi16(_mm512_testn_epi16_mask(even, exponent), w, fix));
    odd =
        _mm512_xor_si512(odd, _mm512_maskz_permutexvar_epi16(_mm512_testn_epi16_mask(odd, exponent),
                                                             _mm512_srli_epi16(odd, 4), fix));
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    bytes[0].v = _mm512_castsi512_ps(_mm512_slli_epi32(even, 16));
    bytes[1].v = _mm512_castsi512_ps(_mm512_slli_epi32(odd, 16));
    bytes[2].v = _mm512_castsi512_ps(_mm512_and_si512(even, upper));
    bytes[3].v = _mm512_castsi512_ps(_mm512_and_si512(odd, upper));
  }
  static void set_nans(F32 words, F32 (&bytes)[4]) {
    const __m512i w = _mm512_castps_si512(words.v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i code = _mm512_set1_epi32(0x7f << (8 * i));
      const __mmask16 nan = _mm512_cmpeq_epi32_mask(_mm512_and_si512(w, code), code);
      bytes[i].v = _mm512_mask_mov_ps(bytes[i].v, nan, _mm512_set1_ps(__builtin_nanf("")));
    }
  }
  // core/e4m3.h has the same conversion for one element.
  static void store(char* p, Lanes lanes, F32 a) {
    const __m512i bits = _mm512_castps_si512(a.v);
    const __m512i size = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 24), _mm512_set1_epi32(0x80));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(size, 20), _mm512_set1_epi32(1));
    const __m512i bump = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff));
    const __m512i normal = _mm512_sub_epi32(_mm512_srli_epi32(_mm512_add_epi32(size, bump), 20),
                                            _mm512_set1_epi32(120 << 3));
    const __m512 aligned = _mm512_add_ps(_mm512_castsi512_ps(size), _mm512_set1_ps(0x1p14f));
    const __m512i subnormal =
        _mm512_sub_epi32(_mm512_castps_si512(aligned), _mm512_set1_epi32(0x46800000));
    const auto above = [&](int bound) {
      return _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(bound));
    };
    __m512i code = _mm512_mask_mov_epi32(subnormal, above(0x3c7fffff), normal);
    code = _mm512_mask_mov_epi32(code, above(0x43dfffff), _mm512_set1_epi32(0x7e));
    code = _mm512_mask_mov_epi32(code, above(0x7f800000), _mm512_set1_epi32(0x7f));
    _mm512_mask_cvtepi32_storeu_epi8(p, lanes.bits, _mm512_or_si512(code, sign));
  }
};

// Words of pairs of bf16 or of four bytes; lanes that are not named are zero.
inline F32 load_words(const char* p, Lanes lanes) {
  return {_mm512_castsi512_ps(_mm512_maskz_loadu_epi32(lanes.bits, p))};
}

// The element at the lower address of each pair, and the one at the higher, as floats.
inline F32 lower_of_pair(F32 a) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 16))};
}
inline F32 upper_of_pair(F32 a) {
  const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), mask))};
}

// The reverse for columns: the even ones in a and the odd ones in b, to one row in (a, b).
inline void join_columns(F32& a, F32& b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512 first = _mm512_permutex2var_ps(a.v, low, b.v);
  b.v = _mm512_permutex2var_ps(a.v, high, b.v);
  a.v = first;
}

// r[i] lane j becomes r[j] lane i: 4x4 within 128-bit quarters, then the quarters.
[[gnu::always_inline]] inline void transpose(F32 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    const __m512 a = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    const __m512 b = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
    const __m512 c = _mm512_unpacklo_ps(r[i + 2].v, r[i + 3].v);
    const __m512 d = _mm512_unpackhi_ps(r[i + 2].v, r[i + 3].v);
    t[i] = _mm512_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
    const __m512 d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
    r[i].v = _mm512_shuffle_f32x4(a, b, 0x88);
    r[i + 4].v = _mm512_shuffle_f32x4(c, d, 0x88);
    r[i + 8].v = _mm512_shuffle_f32x4(a, b, 0xdd);
    r[i + 12].v = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}

}  // namespace pagoda::cpu::avx512

#include "encode_avx512.inl.h"
// The bodies, over all of the above.
#include "../table.inl.h"

// Vectors of 8 floats for AVX2 with FMA and F16C; the bodies below do the rest. Compiled with those
// flags, so it includes no standard header but the intrinsics (see kernels.h).
#include <immintrin.h>

#include "../kernels.h"

namespace pagoda::cpu::avx2 {

struct Lanes {
  __m256 bits;  // all ones or all zeros
};

struct F32 {
  static constexpr int kWidth = 8;
  __m256 v;
};

// Register block of the matrix products: 12 of the 16 registers hold sums.
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = 2;
// Rows of a tile at most; changes speed, never results.
constexpr int kTileRows = 384;

constexpr bool kEncodesWords = false;     // encode.inl.h
constexpr bool kReducesTogether = false;  // softmax.inl.h

inline Lanes first_lanes(int n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane))};
}
// Lanes i of which bit i is set.
inline Lanes lanes_of(uint64_t bits) {
  const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, own), own))};
}

inline F32 broadcast(float x) {
  return {_mm256_set1_ps(x)};
}
inline F32 iota() {
  return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7)};
}
inline F32 load(const float* p) {
  return {_mm256_loadu_ps(p)};
}
inline void store(float* p, F32 a) {
  _mm256_storeu_ps(p, a.v);
}
inline F32 operator+(F32 a, F32 b) {
  return {_mm256_add_ps(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {_mm256_div_ps(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
// c - a * b
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {_mm256_fnmadd_ps(a.v, b.v, c.v)};
}
// The second operand where either is NaN.
inline F32 max(F32 a, F32 b) {
  return {_mm256_max_ps(a.v, b.v)};
}
inline F32 min(F32 a, F32 b) {
  return {_mm256_min_ps(a.v, b.v)};
}
inline F32 sqrt(F32 a) {
  return {_mm256_sqrt_ps(a.v)};
}
inline F32 select(Lanes lanes, F32 yes, F32 no) {
  return {_mm256_blendv_ps(no.v, yes.v, lanes.bits)};
}
inline Lanes equal(F32 a, F32 b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)};
}
// False where either is NaN.
inline Lanes less(F32 a, F32 b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)};
}
inline bool any_nan(F32 a) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)) != 0;
}
inline F32 round_to_int(F32 a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for an integer n in [-126, 127] and a normal result; a NaN in `a` stays one.
inline F32 scale_by_power(F32 a, F32 n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), exponent))};
}
inline float reduce_max(F32 a) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
inline float reduce_add(F32 a) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

// Rows are multiples of 8 elements, so whole vectors are loaded and stored whatever lanes are
// named.
struct AsF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    return {_mm256_loadu_ps(reinterpret_cast<const float*>(p))};
  }
  static void store(char* p, Lanes, F32 a) { _mm256_storeu_ps(reinterpret_cast<float*>(p), a.v); }
};

struct AsF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static void store(char* p, Lanes, F32 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

struct AsBf16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = true;
  static F32 load(const char* p, Lanes) {
    const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16))};
  }
  // To the nearest, ties to even; a NaN stays one.
  static void store(char* p, Lanes, F32 a) {
    const __m256i bits = _mm256_castps_si256(a.v);
    const __m256i top = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const __m256i bump = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bump), 16);
    const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(64));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
    const __m256i result = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }
};

// The low bytes of eight words, as bytes in a row.
inline void store_8x8(char* p, __m256i words) {
  const __m256i pick =
      _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                       -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i quads = _mm256_shuffle_epi8(words, pick);
  const __m128i row =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), row);
}

struct AsInt8 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))};
  }
  // Half away from zero, clamped; a NaN becomes 0. Adding the float below 0.5 carries exactly the
  // halves and what is above them to the next integer.
  static void store(char* p, Lanes, F32 a) {
    const __m256 number = _mm256_cmp_ps(a.v, a.v, _CMP_ORD_Q);
    const __m256 low = _mm256_max_ps(_mm256_and_ps(number, a.v), _mm256_set1_ps(-128));
    const __m256 y = _mm256_min_ps(low, _mm256_set1_ps(127));
    const __m256 half =
        _mm256_or_ps(_mm256_and_ps(y, _mm256_set1_ps(-0.0f)), _mm256_set1_ps(0x1.fffffep-2f));
    store_8x8(p, _mm256_cvttps_epi32(_mm256_add_ps(y, half)));
  }
  // The four bytes of each word, each as a vector.
  static void part(F32 words, F32 (&bytes)[4]) {
    const __m256i w = _mm256_castps_si256(words.v);
    bytes[0].v = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(w, 24), 24));
    bytes[1].v = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(w, 16), 24));
    bytes[2].v = _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(w, 8), 24));
    bytes[3].v = _mm256_cvtepi32_ps(_mm256_srai_epi32(w, 24));
  }
};

// Numbers are read 2^8 too small (kernels.h). The functions named finite read NaN codes as numbers.
struct AsE4m3 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;

  // The bits of an f16 of lower exponent bias, which may be subnormal.
  static F32 load_finite(const char* p, Lanes) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i keep = _mm_set1_epi16(static_cast<short>(0xbf80));
    return {_mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(bytes), 7), keep))};
  }
  static F32 load(const char* p, Lanes lanes) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return {set_nan(load_finite(p, lanes).v, _mm256_cvtepu8_epi32(bytes), 0x7f)};
  }
  // Of the first `count` bytes, 8 or 16.
  static bool any_nan(const char* p, int count) {
    const __m128i* from = reinterpret_cast<const __m128i*>(p);
    const __m128i bytes = count > 8 ? _mm_loadu_si128(from) : _mm_loadl_epi64(from);
    const __m128i all = _mm_or_si128(bytes, _mm_set1_epi8(static_cast<char>(0x80)));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8(-1))) != 0;
  }
  static bool any_nan(const F32 (&words)[8]) {
    const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
    __m256i most = sign;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      most = _mm256_max_epu8(most, _mm256_or_si256(_mm256_castps_si256(words[i].v), sign));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, _mm256_set1_epi8(-1))) != 0;
  }
  // The four bytes of each word, each as a vector.
  static void part_finite(F32 words, F32 (&bytes)[4]) {
    const __m256i w = _mm256_castps_si256(words.v);
    part_halves(_mm256_slli_epi16(w, 8), bytes[0], bytes[2]);
    part_halves(w, bytes[1], bytes[3]);
  }
  static void set_nans(F32 words, F32 (&bytes)[4]) {
    const __m256i w = _mm256_castps_si256(words.v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) bytes[i].v = set_nan(bytes[i].v, w, 0x7f << (8 * i));
  }
  // core/e4m3.h has the same conversion for one element.
  static void store(char* p, Lanes, F32 a) {
    const __m256i bits = _mm256_castps_si256(a.v);
    const __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, 24), _mm256_set1_epi32(0x80));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(size, 20), _mm256_set1_epi32(1));
    const __m256i bump = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7ffff));
    const __m256i normal = _mm256_sub_epi32(_mm256_srli_epi32(_mm256_add_epi32(size, bump), 20),
                                            _mm256_set1_epi32(120 << 3));
    const __m256 aligned = _mm256_add_ps(_mm256_castsi256_ps(size), _mm256_set1_ps(0x1p14f));
    const __m256i subnormal =
        _mm256_sub_epi32(_mm256_castps_si256(aligned), _mm256_set1_epi32(0x46800000));
    const auto replace = [&](__m256i code, int above, __m256i by) {
      return _mm256_blendv_epi8(code, by, _mm256_cmpgt_epi32(size, _mm256_set1_epi32(above)));
    };
    __m256i code = replace(subnormal, 0x3c7fffff, normal);
    code = replace(code, 0x43dfffff, _mm256_set1_epi32(0x7e));
    code = replace(code, 0x7f800000, _mm256_set1_epi32(0x7f));
    store_8x8(p, _mm256_or_si256(code, sign));
  }

 private:
  // NaN where all of these bits are set.
  static __m256 set_nan(__m256 a, __m256i words, int bits) {
    const __m256i code = _mm256_set1_epi32(bits);
    const __m256i nan = _mm256_cmpeq_epi32(_mm256_and_si256(words, code), code);
    return _mm256_or_ps(a, _mm256_castsi256_ps(nan));
  }
  // The upper bytes of the lower and of the upper 16 bits of each word, by way of f16.
  static void part_halves(__m256i w, F32& lower, F32& upper) {
    const __m256i keep = _mm256_set1_epi16(static_cast<short>(0xbf80));
    const __m256i half = _mm256_and_si256(_mm256_srai_epi16(w, 1), keep);
    const __m256i low = _mm256_and_si256(half, _mm256_set1_epi32(0xffff));
    const __m256i pairs = _mm256_packus_epi32(low, _mm256_srli_epi32(half, 16));
    const __m256i rows = _mm256_permute4x64_epi64(pairs, 0xd8);
    lower.v = _mm256_cvtph_ps(_mm256_castsi256_si128(rows));
    upper.v = _mm256_cvtph_ps(_mm256_extracti128_si256(rows, 1));
  }
};

// Words of pairs of bf16 or of four bytes; lanes that are not named are zero.
inline F32 load_words(const char* p, Lanes lanes) {
  return {_mm256_maskload_ps(reinterpret_cast<const float*>(p), _mm256_castps_si256(lanes.bits))};
}

// The element at the lower address of each pair, and the one at the higher, as floats.
inline F32 lower_of_pair(F32 a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 16))};
}
inline F32 upper_of_pair(F32 a) {
  const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a.v), mask))};
}

// The reverse for columns: the even ones in a and the odd ones in b, to one row in (a, b).
inline void join_columns(F32& a, F32& b) {
  const __m256 low = _mm256_unpacklo_ps(a.v, b.v), high = _mm256_unpackhi_ps(a.v, b.v);
  a.v = _mm256_permute2f128_ps(low, high, 0x20);
  b.v = _mm256_permute2f128_ps(low, high, 0x31);
}

// Inlined at once: compilers take a function of nothing but a prefetch for one without effect, and
// delete its calls.
[[gnu::always_inline]] inline void prefetch(const char* p) {
  _mm_prefetch(p, _MM_HINT_T0);
}

// r[i] lane j becomes r[j] lane i: 4x4 within 128-bit halves, then the halves.
[[gnu::always_inline]] inline void transpose(F32 (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    const __m256 a = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    const __m256 b = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
    const __m256 c = _mm256_unpacklo_ps(r[i + 2].v, r[i + 3].v);
    const __m256 d = _mm256_unpackhi_ps(r[i + 2].v, r[i + 3].v);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    r[i].v = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
    r[i + 4].v = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
  }
}

}  // namespace pagoda::cpu::avx2

#define PAGODA_ISA avx2
#include "../table.inl.h"

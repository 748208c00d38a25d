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

// Lanes i with begin <= i < end.
inline Lanes lanes_between(int begin, int end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i from_begin = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(begin - 1));
  const __m256i before_end = _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane);
  return {_mm256_castsi256_ps(_mm256_and_si256(from_begin, before_end))};
}
inline Lanes first_lanes(int n) {
  return lanes_between(0, n);
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

// Pairs of bf16; lanes that are not named are zero.
inline F32 load_pairs(const char* p, Lanes lanes) {
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

inline void prefetch(const char* p) {
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

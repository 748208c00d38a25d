// Vectors of 16 floats for AVX-512 F, BW, DQ and VL with FMA: what the units of `avx512` and `amx`
// have in common, each in its own namespace.
#pragma once

#include <immintrin.h>

namespace pagoda::cpu::PAGODA_ISA {

struct Lanes {
  __mmask16 bits;
};

struct F32 {
  static constexpr int kWidth = 16;
  __m512 v;
};

inline Lanes first_lanes(int n) {
  return {static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1)};
}
inline F32 broadcast(float x) {
  return {_mm512_set1_ps(x)};
}
inline F32 load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline void store(float* p, F32 a) {
  _mm512_storeu_ps(p, a.v);
}
inline F32 operator+(F32 a, F32 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
// c - a * b
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
// The second operand where either is NaN.
inline F32 max(F32 a, F32 b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline F32 min(F32 a, F32 b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline F32 sqrt(F32 a) {
  return {_mm512_sqrt_ps(a.v)};
}
inline F32 select(Lanes lanes, F32 yes, F32 no) {
  return {_mm512_mask_mov_ps(no.v, lanes.bits, yes.v)};
}
inline Lanes equal(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
// False where either is NaN.
inline Lanes less(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
inline F32 round_to_int(F32 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a - floor(a), which may round to 1.
inline F32 fraction(F32 a) {
  return {_mm512_reduce_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
// a * 2^floor(n), 0 for -inf
inline F32 scale_by_floor(F32 a, F32 n) {
  return {_mm512_scalef_ps(a.v, n.v)};
}
// a * 2^n for an integer n in [-126, 127]
inline F32 scale_by_power(F32 a, F32 n) {
  return {_mm512_scalef_ps(a.v, n.v)};
}
// Inlined at once: compilers take a function of nothing but a prefetch for one without effect, and
// delete its calls.
[[gnu::always_inline]] inline void prefetch(const char* p) {
  _mm_prefetch(p, _MM_HINT_T0);
}

}  // namespace pagoda::cpu::PAGODA_ISA

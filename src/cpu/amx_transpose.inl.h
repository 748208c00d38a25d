// Weights of few rows from vectors of several keys, [keys][rows], to rows of sixteen keys.
#pragma once

#include "amx_pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Four vectors of four keys and four rows become four rows of sixteen keys.
[[gnu::always_inline]] inline void transpose_4(const __m512i* p, __m512i* r) {
  const __m512i by_row = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i c[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) c[i] = _mm512_permutexvar_epi32(by_row, p[i]);
  const __m512i a = _mm512_shuffle_i32x4(c[0], c[1], 0x88);
  const __m512i b = _mm512_shuffle_i32x4(c[0], c[1], 0xdd);
  const __m512i d = _mm512_shuffle_i32x4(c[2], c[3], 0x88);
  const __m512i e = _mm512_shuffle_i32x4(c[2], c[3], 0xdd);
  r[0] = _mm512_shuffle_i32x4(a, d, 0x88);
  r[1] = _mm512_shuffle_i32x4(b, e, 0x88);
  r[2] = _mm512_shuffle_i32x4(a, d, 0xdd);
  r[3] = _mm512_shuffle_i32x4(b, e, 0xdd);
}

// Eight vectors of two keys and eight rows become eight rows of sixteen keys.
[[gnu::always_inline]] inline void transpose_8(const __m512i* p, __m512i* r) {
  const __m512i by_row = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  __m512i c[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) c[i] = _mm512_permutexvar_epi32(by_row, p[i]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm512_unpacklo_epi64(c[2 * i], c[2 * i + 1]);      // rows 0, 2, 4, 6
    t[2 * i + 1] = _mm512_unpackhi_epi64(c[2 * i], c[2 * i + 1]);  // rows 1, 3, 5, 7
  }
#pragma GCC unroll 2
  for (int odd = 0; odd < 2; ++odd) {
    const __m512i a = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(t[odd], t[2 + odd], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(t[4 + odd], t[6 + odd], 0xdd);
    r[odd] = _mm512_shuffle_i32x4(a, d, 0x88);
    r[2 + odd] = _mm512_shuffle_i32x4(b, e, 0x88);
    r[4 + odd] = _mm512_shuffle_i32x4(a, d, 0xdd);
    r[6 + odd] = _mm512_shuffle_i32x4(b, e, 0xdd);
  }
}

// Sixteen keys of kRows rows: [kRows] vectors of 16 / kRows keys.
template <int kRows>
[[gnu::always_inline]] inline void turn_weights(const __m512i* p, __m512i (&r)[kRows]) {
  if constexpr (kRows == 4) {
    transpose_4(p, r);
  } else if constexpr (kRows == 8) {
    transpose_8(p, r);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = p[i];
    transpose(r);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

// The one matrix product behind both halves of attention:
//
//     c[r][n] (+)= sum over k of a[r][k] * b[k][n]
//
// with a block of sums in registers, a[r][k] broadcast and b[k] in vectors. Every sum runs over k
// in ascending order, one fused multiply-add after the other, whatever rows and columns stand
// beside it. That is why a row gets the same bits in a batch, in a chunk and alone.
#pragma once

#include "pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// b as a packed panel. p: [k, stride]
struct PanelB {
  const float* p;
  int64_t stride;

  template <int kVectors>
  void row(int k, F32 (&vector)[kVectors]) const {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vector[v] = load(p + k * stride + v * kWidth);
  }
};

// b as rows where they lie: for so few rows of a that packing would not be used twice.
template <class E>
struct RowsB {
  const char* const* rows;  // [k] of elements
  PanelOfRow<E> panel;
  Ahead& ahead;

  template <int kVectors>
  void row(int k, F32 (&vector)[kVectors]) const {
    constexpr int kEvery = 8;  // keys
    ValueRow<E>::load(rows[k] + panel.offset, panel.lanes, panel.columns, vector);
    if (k % kEvery == 0) ahead.advance(kEvery * kVectors * kWidth * E::kBytes);
  }
};

// a: [kRows, a_stride], c: [kRows, c_stride]. rescale: [kRows] what c is multiplied by before the
// sums are added, or null to start from 0.
template <int kRows, int kVectors, class B>
inline void multiply(const float* a, int64_t a_stride, const B& from, int k_begin, int k_end,
                     const float* rescale, float* c, int64_t c_stride) {
  const B b = from;  // a copy, whose fields stay in registers
  F32 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = rescale == nullptr ? broadcast(0.0f)
                                     : load(c + r * c_stride + v * kWidth) * broadcast(rescale[r]);
  }
  for (int k = k_begin; k < k_end; ++k) {
    F32 vector[kVectors];
    b.row(k, vector);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F32 scalar = broadcast(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(scalar, vector[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + r * c_stride + v * kWidth, sum[r][v]);
  }
}

template <int kVectors, class B>
inline void multiply_rows(int rows, const float* a, int64_t a_stride, const B& b, int k_begin,
                          int k_end, const float* rescale, float* c, int64_t c_stride) {
  switch (rows) {
    case 1:
      return multiply<1, kVectors>(a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
    case 2:
      return multiply<2, kVectors>(a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
    case 3:
      return multiply<3, kVectors>(a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
    case 4:
      return multiply<4, kVectors>(a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
  }
  if constexpr (kBlockRows > 4) {
    if (rows == 5)
      return multiply<5, kVectors>(a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
    return multiply<6, kVectors>(a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
  }
}

// rows: 1 .. kBlockRows, vectors: 1 .. kBlockVectors
template <class B>
inline void multiply_block(int rows, int vectors, const float* a, int64_t a_stride, const B& b,
                           int k_begin, int k_end, const float* rescale, float* c,
                           int64_t c_stride) {
  if (vectors == 1)
    return multiply_rows<1>(rows, a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
  if (vectors == 2)
    return multiply_rows<2>(rows, a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
  if constexpr (kBlockVectors > 2) {
    if (vectors == 3)
      return multiply_rows<3>(rows, a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
    return multiply_rows<4>(rows, a, a_stride, b, k_begin, k_end, rescale, c, c_stride);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

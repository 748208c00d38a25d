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

  F32 at(int k, int v) const { return load(p + k * stride + v * kWidth); }
  void visit(int) const {}
};

// b as rows where they lie: for so few rows of a that packing would not be used twice.
template <class E>
struct RowsB {
  const char* const* rows;  // [k] of elements, from the panel's first column
  const char* const* next;  // rows to prefetch, or null
  int64_t offset;           // bytes from a row's start to the panel
  int panel_bytes;
  Lanes last;  // of the last vector

  template <int kVectors>
  F32 at(int k, int v) const {
    const Lanes lanes = v == kVectors - 1 ? last : first_lanes(kWidth);
    return E::load(rows[k] + offset + v * kWidth * E::kBytes, lanes);
  }
  void visit(int k) const {
    if (next == nullptr) return;
    for (int i = 0; i < panel_bytes; i += 64) prefetch(next[k] + offset + i);
  }
};

template <int kVectors>
inline F32 element(const PanelB& b, int k, int v) {
  return b.at(k, v);
}
template <int kVectors, class E>
inline F32 element(const RowsB<E>& b, int k, int v) {
  return b.template at<kVectors>(k, v);
}

// a: [kRows, a_stride], c: [kRows, c_stride]. rescale: [kRows] what c is multiplied by before the
// sums are added, or null to start from 0.
template <int kRows, int kVectors, class B>
inline void multiply(const float* a, int64_t a_stride, const B& b, int k_begin, int k_end,
                     const float* rescale, float* c, int64_t c_stride) {
  F32 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = rescale == nullptr ? broadcast(0.0f)
                                     : load(c + r * c_stride + v * kWidth) * broadcast(rescale[r]);
  for (int k = k_begin; k < k_end; ++k) {
    F32 vector[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vector[v] = element<kVectors>(b, k, v);
    b.visit(k);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F32 scalar = broadcast(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(scalar, vector[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(c + r * c_stride + v * kWidth, sum[r][v]);
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

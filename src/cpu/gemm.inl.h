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
  template <int kVectors>
  static void enter(F32 (&)[kVectors]) {}
  template <int kVectors>
  static void leave(F32 (&)[kVectors]) {}
};

// b as rows where they lie: for so few rows of a that packing would not be used twice.
template <class E>
struct RowsB {
  const char* const* rows;  // [k] of elements
  Ahead& ahead;
  int offset;                  // bytes from a row's start to the panel
  Lanes lanes[kBlockVectors];  // of each vector of the panel that the row has
  Lanes pairs[kBlockVectors];  // of every second vector and the next, as pairs

  // columns: of the row from the panel's start; may be more than the panel has
  RowsB(const char* const* rows, Ahead& ahead, int offset, int columns)
      : rows(rows), ahead(ahead), offset(offset) {
    for (int v = 0; v < kBlockVectors; ++v) {
      lanes[v] = first_lanes(columns - v * kWidth);
      pairs[v] = first_lanes((columns - v * kWidth) / 2);
    }
  }

  template <int kVectors>
  void row(int k, F32 (&vector)[kVectors]) const {
    const char* from = rows[k] + offset;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vector[v] = E::load(from + v * kWidth * E::kBytes, lanes[v]);
    look_ahead<kVectors>(k);
  }
  template <int kVectors>
  static void enter(F32 (&)[kVectors]) {}
  template <int kVectors>
  static void leave(F32 (&)[kVectors]) {}

  template <int kVectors>
  void look_ahead(int k) const {
    constexpr int kEvery = 8;  // keys
    if (k % kEvery == 0) ahead.advance(kEvery * kVectors * kWidth * E::kBytes);
  }
};

// Two vectors of bf16 are one of words, which are parted by cheaper instructions than those that
// widen. The sums then hold the even columns in one vector and the odd ones in the next.
template <>
template <int kVectors>
inline void RowsB<AsBf16>::row(int k, F32 (&vector)[kVectors]) const {
  const char* from = rows[k] + offset;
  if constexpr (kVectors % 2 == 0) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v += 2) {
      const F32 words = load_pairs(from + v * kWidth * 2, pairs[v]);
      vector[v] = lower_of_pair(words);
      vector[v + 1] = upper_of_pair(words);
    }
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vector[v] = AsBf16::load(from + v * kWidth * 2, lanes[v]);
  }
  look_ahead<kVectors>(k);
}
template <>
template <int kVectors>
inline void RowsB<AsBf16>::enter(F32 (&sum)[kVectors]) {
  if constexpr (kVectors % 2 == 0)
    for (int v = 0; v < kVectors; v += 2) part_columns(sum[v], sum[v + 1]);
}
template <>
template <int kVectors>
inline void RowsB<AsBf16>::leave(F32 (&sum)[kVectors]) {
  if constexpr (kVectors % 2 == 0)
    for (int v = 0; v < kVectors; v += 2) join_columns(sum[v], sum[v + 1]);
}

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
    B::enter(sum[r]);
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
    B::leave(sum[r]);
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

// Operations on whole rows: conversion from and to the caller's elements, and the merge of states.
#pragma once

#include "math.inl.h"
#include "pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

template <class E>
inline void widen_row(const char* from, float* to, int n) {
  for (int i = 0; i < n; i += kWidth) {
    const Lanes lanes = first_lanes(n - i);
    AsF32::store(reinterpret_cast<char*>(to + i), lanes, E::load(from + i * E::kBytes, lanes));
  }
}

// One vector of the result. The last addition makes +0 of a -0, whose sign would tell how many
// hidden keys were added up; and every NaN becomes the same one, since sign and payload would tell
// in which order operands stood.
inline F32 finished(F32 o, float weight, float divisor) {
  const F32 it = o * broadcast(weight) / broadcast(divisor) + broadcast(0.0f);
  return select(equal(it, it), it, broadcast(__builtin_nanf("")));
}

// Columns of a row of o become columns of the result.
template <class E>
inline void store_columns(F32 a, const float* scale, int column, char* to, int n) {
  const Lanes lanes = first_lanes(n - column);
  if (scale != nullptr)
    a = a * AsF32::load(reinterpret_cast<const char*>(scale + column), lanes) + broadcast(0.0f);
  E::store(to + column * E::kBytes, lanes, a);
}

// A row of o, in the order of its columns that pack.inl.h names, to the caller's. scale: [n] of
// columns, or null
template <class E>
inline void narrow_row(bool parted, const float* from, float weight, float divisor,
                       const float* scale, char* to, int n) {
  const Panels panels(n);
  for (int p = 0; p < panels.count; ++p) {
    const Panel panel = panels.panel(p);
    for (int v = 0; v < panel.vectors;) {
      const int column = (panel.first + v) * kWidth;
      F32 a = finished(load(from + column), weight, divisor);
      if (parted && v + 1 < panel.vectors) {
        F32 b = finished(load(from + column + kWidth), weight, divisor);
        join_columns(a, b);
        store_columns<E>(a, scale, column, to, n);
        store_columns<E>(b, scale, column + kWidth, to, n);
        v += 2;
        continue;
      }
      store_columns<E>(a, scale, column, to, n);
      ++v;
    }
  }
}

// Two products and a sum, each rounded: the same bits when the two states change places.
template <class E>
inline void blend_row(const char* a, float weight_a, const char* b, float weight_b, char* to,
                      int n) {
  for (int i = 0; i < n; i += kWidth) {
    const Lanes lanes = first_lanes(n - i);
    const F32 x = E::load(a + i * E::kBytes, lanes), y = E::load(b + i * E::kBytes, lanes);
    E::store(to + i * E::kBytes, lanes, x * broadcast(weight_a) + y * broadcast(weight_b));
  }
}

// Weights of both sides for kWidth rows at a time, as in the softmax: a maximum of -inf is an empty
// state, of weight exp(-inf - ..) = 0, and the weight of the larger maximum is exp(0) = 1.
inline void merge_rows(State into, State from, int num_rows, int head_dim_v) {
  const int64_t stride = static_cast<int64_t>(Panels(head_dim_v).vectors) * kWidth;
  for (int first = 0; first < num_rows; first += kWidth) {
    const F32 m_a = load(into.m + first), m_b = load(from.m + first);
    const F32 m = max(m_a, m_b);
    const F32 empty = broadcast(kMinusInfinity);
    const F32 shift = select(equal(m, empty), broadcast(0.0f), m);
    const F32 weight_a = exp(m_a - shift), weight_b = exp(m_b - shift);
    const F32 l = fma(load(from.l + first), weight_b, load(into.l + first) * weight_a);
    store(into.m + first, m);
    store(into.l + first, l);
    float weights_a[kWidth], weights_b[kWidth];
    store(weights_a, weight_a);
    store(weights_b, weight_b);
    for (int i = 0; i < kWidth && first + i < num_rows; ++i) {
      float* a = into.o + (first + i) * stride;
      const float* b = from.o + (first + i) * stride;
      for (int64_t c = 0; c < stride; c += kWidth)
        store(a + c,
              fma(load(b + c), broadcast(weights_b[i]), load(a + c) * broadcast(weights_a[i])));
    }
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

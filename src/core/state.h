// Host and device. The state of an attention over some keys: (m, l, o) with m the largest logit, l
// the sum of exp(s - m) and o the sum of exp(s - m) * v; and its finished form (o / l, m + ln l).
//
// Conventions, stated here alone: the log-sum-exp is the natural logarithm, in float. A state of no
// keys is (0, -inf) exactly. A finished lse of +inf is read as empty too, since some other library
// marks empty rows so; it is never written.
#pragma once

#include <cmath>
#include <limits>

#include "hd.h"

namespace pagoda {

template <class Real>
PAGODA_HD constexpr Real minus_infinity() {
  return -std::numeric_limits<Real>::infinity();
}

// m + ln l; -inf if nothing was added.
template <class Real>
PAGODA_HD inline Real lse_of(Real m, Real l) {
  return l > 0 ? m + std::log(l) : (l == 0 ? minus_infinity<Real>() : l + m);
}

// exp(s - m) for s <= m, where m may be -inf (then s is, and the weight is 0).
template <class Real>
PAGODA_HD inline Real weight_of(Real s, Real m) {
  return s == minus_infinity<Real>() ? Real(0) : std::exp(s - m);
}

template <class Real>
PAGODA_HD inline Real empty_if_infinite(Real lse) {
  return std::isinf(lse) ? minus_infinity<Real>() : lse;
}

// How two finished states over disjoint keys combine:
//   out = weight_a * out_a + weight_b * out_b, where a state of weight 0 must not be read.
template <class Real>
struct MergeWeights {
  Real a, b, lse;
};

// A state merged with an empty one keeps its bits: the weights are then 1 and 0, the lse unchanged.
template <class Real>
PAGODA_HD inline MergeWeights<Real> merge_weights(Real lse_a, Real lse_b) {
  constexpr Real empty = minus_infinity<Real>();
  lse_a = empty_if_infinite(lse_a);
  lse_b = empty_if_infinite(lse_b);
  if (lse_a == empty && lse_b == empty) return {0, 0, empty};
  if (lse_b == empty) return {1, 0, lse_a};
  if (lse_a == empty) return {0, 1, lse_b};
  const Real m = lse_a > lse_b ? lse_a : lse_b;
  const Real a = std::exp(lse_a - m), b = std::exp(lse_b - m);
  return {a / (a + b), b / (a + b), m + std::log(a + b)};
}

}  // namespace pagoda

// Host and device. From q . k to the logit that enters the softmax: scale, soft-cap, ALiBi, in this
// order; the mask comes after (mask.h).
//
// ALiBi is the relative form slope * (j - p) everywhere. Other forms differ by a constant per
// query: the outputs agree but the log-sum-exps do not, and states with different constants cannot
// merge.
#pragma once

#include <cmath>
#include <cstdint>

#include "hd.h"

namespace pagoda {

enum class Alibi : uint8_t { none, linear, sqrt };

struct Score {
  float scale = 1;
  float softcap = 0;  // 0: none
  Alibi alibi = Alibi::none;
};

// tanh saturates; the quotient of exponentials that is sometimes used instead overflows to NaN.
template <class Real>
PAGODA_HD inline Real apply_softcap(Real s, Real cap) {
  return cap > 0 ? cap * std::tanh(s / cap) : s;
}

template <class Real>
PAGODA_HD inline Real alibi_bias(Alibi kind, Real slope, int32_t position, int32_t key) {
  if (kind == Alibi::none) return 0;
  const Real distance = static_cast<Real>(key) - static_cast<Real>(position);
  if (kind == Alibi::linear) return slope * distance;
  return distance <= 0 ? -slope * std::sqrt(-distance) : Real(0);
}

template <class Real>
PAGODA_HD inline Real logit(const Score& score, Real qk, Real slope, int32_t position,
                            int32_t key) {
  const Real scaled = qk * static_cast<Real>(score.scale);
  const Real capped = apply_softcap(scaled, static_cast<Real>(score.softcap));
  return capped + alibi_bias(score.alibi, slope, position, key);
}

}  // namespace pagoda

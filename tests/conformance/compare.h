// Whether a result is what the oracle expects, by a bound without a tuned constant.
//
// A logit computed with rounding u strays by at most eps = u * condition from its true value, so a
// weight strays by a factor of at most exp(2 eps), and a sum of n weighted values by 4 sqrt(n) u of
// the sum of their sizes beyond that:
//
//     |o - o*| <= (expm1(2 eps) + u_P + 4 sqrt(n) u) * sum p |v|, rounded to the output's type
//     |lse - lse*| <= eps + r * max(1, |lse*|)
//
// where u_P is the rounding of the weights themselves, if they are rounded, and r is 2^-20 for
// kernels in float; there, weights below the range of float may be lost as well, and products below
// `smallest`. Rows that see no key, and tokens of no request, must hold their values exactly.
#pragma once

#include <string>

#include "oracle.h"
#include "step.h"

namespace pagoda::conformance {

struct Arithmetic {
  double accumulator = 0x1p-24;  // u
  double weights = 0;            // u_P
  double lse = 0x1p-20;          // r
  bool loses_small_weights = true;
  double smallest = 0x1p-149;
};
inline constexpr Arithmetic kFloat{};
// Tiles take weights as bf16, and what is below the normal range for 0.
inline constexpr Arithmetic kTiles{.weights = 0x1p-8, .smallest = 0x1p-126};
// Double inside, outputs rounded to float on the way to their type.
inline constexpr Arithmetic kDouble{
    .accumulator = 0x1p-53, .lse = 0x1p-23, .loses_small_weights = false};

struct Comparison {
  std::string complaint;  // the first that differs; empty if none does
  double out_ratio = 0;   // the largest error / bound
  double lse_ratio = 0;
};

Comparison compare(const Geometry& geometry, const Expected& expected, const Result& result,
                   const Arithmetic& arithmetic);

// Empty if both hold the same bits, otherwise the first place where they do not.
std::string differing_bits(const Result& a, const Result& b);

}  // namespace pagoda::conformance

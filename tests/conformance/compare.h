// Whether a result is what the oracle expects, by a bound without a tuned constant.
//
// A logit computed with rounding u strays by at most eps = u * condition from its true value, so a
// weight strays by a factor of at most exp(2 eps), and a sum of n weighted values by 4 sqrt(n) u of
// the sum of their sizes beyond that:
//
//     |o - o*| <= (expm1(2 eps) + u_P + 4 sqrt(n) u) * sum p |v| + w * sum |v|,
//                 rounded to the output's type
//     |lse - lse*| <= eps + r * max(1, |lse*|)
//
// where u_P is the rounding of the weights themselves, if they are rounded, w what it is of the
// smallest of them (with the largest scale of a token for every |v|), and r is 2^-20 for kernels in
// float; there, weights below the range of float may be lost as well, and products below
// `smallest`. Rows that see no key, and tokens of no request, must hold their values exactly.
#pragma once

#include <string>

#include "oracle.h"
#include "step.h"

namespace pagoda::conformance {

struct Arithmetic {
  double accumulator = 0x1p-24;  // u
  double weights = 0;            // u_P
  double small_weights = 0;      // w
  double queries = 0;            // rounding of a query's elements, relative to its largest
  double query_sums = 0;         // or to the sum of their sizes, whichever is larger
  double lse = 0x1p-20;          // r
  bool loses_small_weights = true;
  double smallest = 0x1p-149;
};
inline constexpr Arithmetic kFloat{};
// Tiles take weights as bf16, and what is below the normal range for 0.
inline constexpr Arithmetic kTilesOfBf16{.weights = 0x1p-8, .smallest = 0x1p-126};
// Tiles of f16 have subnormals: steps of 2^-24 in units of up to twice the largest scale, where the
// sum of all weights is at least e^6. Queries of bf16 have their largest element above 2^15.
inline constexpr Arithmetic kTilesOfF16{
    .weights = 0x1p-11, .small_weights = 0x1p-24 / 400, .smallest = 0x1p-126};
inline constexpr Arithmetic kTilesOfF16ForBf16{
    .weights = 0x1p-11, .small_weights = 0x1p-24 / 400, .queries = 0x1p-40, .smallest = 0x1p-126};
// The same over keys of int8, which meet queries that are whole: src/cpu/amx_whole.inl.h.
inline constexpr Arithmetic kTilesOfWhole{.weights = 0x1p-11,
                                          .small_weights = 0x1p-24 / 400,
                                          .queries = 1.0 / 32639,
                                          .query_sums = 1.0 / 130000,
                                          .smallest = 0x1p-126};
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

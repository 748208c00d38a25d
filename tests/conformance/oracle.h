// What a case must give, from the sentences of pagoda.h alone: nothing here includes the library's
// mask, score or state. Beside each result stand the sums that say how far arithmetic in float may
// stray from it.
#pragma once

#include <functional>
#include <vector>

#include "values.h"

namespace pagoda::conformance {

enum class Element : uint8_t {
  ordinary,
  exact,       // no key is seen: to the bit
  not_finite,  // a NaN or infinity is among the values seen
  any          // one is, with a weight that float may round to 0
};

struct ExpectedRow {
  double lse = 0;
  // Of the logit with the largest error: the error in units of the accumulator's rounding.
  double logit_condition = 0;
  // Of the logit with the largest: its size if every element of the query were the largest.
  double query_condition = 0;
  // Likewise if every element were the sum of all.
  double query_sum_condition = 0;
  int32_t num_keys = 0;  // visible
  bool empty = true;     // no key is seen
  bool is_nan = false;   // a key is not a number, or two infinities met
};

struct Expected {
  int32_t num_heads = 0, head_dim_v = 0;
  std::vector<ExpectedRow> rows;  // [num_tokens, num_heads]
  std::vector<double> out;        // [num_tokens, num_heads, head_dim_v]
  std::vector<double> weighted;   // likewise: sum of p * |v|
  std::vector<double> sizes;      // likewise: sum of |v|, all with the largest scale of a token
  std::vector<double> lost;       // likewise: of it, the keys whose p is below the range of float
  std::vector<Element> kind;      // likewise
};

// A mask of the caller's on top of the built-in one: whether request r's query i sees key j under a
// head. Empty: all are seen.
using Shows = std::function<bool(size_t r, int32_t head, int32_t i, int32_t j)>;

// Replaces the logit of request r's query i and key j under a head. Empty: it stays.
using Rescores = std::function<double(double logit, size_t r, int32_t head, int32_t i, int32_t j)>;

// Real: double, or long double to check the oracle itself.
template <class Real>
Expected attend(const Geometry& geometry, const Values& values, const Shows& shows = {},
                const Rescores& rescores = {});

// Whether the query at position p of this request sees key j.
bool sees(const Geometry& geometry, const Request& request, int64_t p, int64_t j);

}  // namespace pagoda::conformance

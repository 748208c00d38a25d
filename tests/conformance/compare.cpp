#include "compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "src/core/dtype.h"

namespace pagoda::conformance {
namespace {

// Half a unit in the last place, relative; and half the smallest step.
struct Rounding {
  double relative, absolute;
};

Rounding rounding_of(pagoda_dtype dtype) {
  // 2^-24 more where a result passes through float on its way.
  if (dtype == PAGODA_F16) return {0x1p-11 + 0x1p-24, 0x1p-25};
  if (dtype == PAGODA_BF16) return {0x1p-8 + 0x1p-24, 0x1p-134};
  return {0x1p-24, 0x1p-150};
}

struct Comparer {
  const Geometry& g;
  const Expected& expected;
  const Result& result;
  const Arithmetic& arithmetic;
  Comparison comparison = {};

  void complain(size_t row, const std::string& what) {
    if (!comparison.complaint.empty()) return;
    std::ostringstream text;
    text << "token " << row / static_cast<size_t>(g.num_heads()) << ", head "
         << row % static_cast<size_t>(g.num_heads()) << ": " << what;
    comparison.complaint = text.str();
  }

  void check_lse(size_t row) {
    const ExpectedRow& wanted = expected.rows[row];
    const size_t heads = static_cast<size_t>(g.num_heads()), tokens = expected.rows.size() / heads;
    const double got = result.lse[row % heads * tokens + row / heads];
    const auto say = [&](const char* rule, double bound) {
      std::ostringstream text;
      text.precision(17);
      text << "lse is " << got << ", expected " << wanted.lse << " " << rule;
      if (bound > 0) text << " " << bound;
      complain(row, text.str());
    };
    if (wanted.is_nan) {
      if (!std::isnan(got)) say("to be NaN: a key that is seen is not finite", 0);
    } else if (wanted.empty || std::isinf(wanted.lse)) {
      if (got != wanted.lse) say("exactly: no key is seen", 0);
    } else {
      const double bound =
          error_of_logits(wanted) + arithmetic.lse * std::fmax(1, std::abs(wanted.lse));
      const double ratio = std::abs(got - wanted.lse) / bound;
      if (!(ratio <= 1)) say("within", bound);
      comparison.lse_ratio = std::fmax(comparison.lse_ratio, ratio);
    }
  }

  double error_of_logits(const ExpectedRow& row) const {
    return arithmetic.accumulator * row.logit_condition +
           std::max(arithmetic.queries * row.query_condition,
                    arithmetic.query_sums * row.query_sum_condition);
  }

  // Of the sums and weights, before the rounding to the output's type.
  double bound_of(const ExpectedRow& row, size_t at) const {
    // Of logits so large that it has no bound; 0 of nothing all the same.
    constexpr double kMost = std::numeric_limits<double>::max() / 2;
    const double of_logits = std::fmin(std::expm1(2 * error_of_logits(row)), kMost);
    const double sums = 4 * std::sqrt(row.num_keys) * arithmetic.accumulator;
    return (of_logits + arithmetic.weights + sums) * expected.weighted[at] +
           arithmetic.small_weights * expected.sizes[at] +
           row.num_keys * arithmetic.smallest;  // products below the normal range
  }

  // Whether a number within the bound rounds to infinity in f16. Types with the range of float have
  // inputs that leave room.
  bool may_overflow(double got, double out, double bound) const {
    constexpr double kRoundsToInfinity = 65520;
    return g.dtype == PAGODA_F16 && std::isinf(got) && got * out > 0 &&
           std::abs(out) + bound >= kRoundsToInfinity;
  }

  void check_element(size_t row, size_t e) {
    const size_t at = row * static_cast<size_t>(g.head_dim_v) + e;
    const ExpectedRow& wanted = expected.rows[row];
    const double got = result.out[at], out = expected.out[at];
    const auto say = [&](const char* rule, double bound) {
      std::ostringstream text;
      text.precision(17);
      text << "out[" << e << "] is " << got << ", expected " << out << " " << rule;
      if (bound > 0) text << " " << bound;
      complain(row, text.str());
    };
    if (wanted.is_nan) {
      if (!std::isnan(got)) say("to be NaN: a key that is seen is not finite", 0);
    } else if (expected.kind[at] == Element::exact) {
      if (got != 0) say("exactly: no key is seen", 0);
    } else if (expected.kind[at] == Element::not_finite) {
      if (std::isfinite(got)) say("not to be finite: a value that is seen is not", 0);
    } else if (expected.kind[at] == Element::ordinary) {
      const double bound = bound_of(wanted, at);
      if (may_overflow(got, out, bound)) return;
      const Rounding last = rounding_of(g.dtype);
      const double rounding = last.relative * (std::abs(out) + bound) + last.absolute +
                              (arithmetic.loses_small_weights ? expected.lost[at] : 0);
      const double error = std::abs(got - out);
      if (!(error <= bound + rounding)) say("within", bound + rounding);
      // How much of the bound is used by what the rounding does not explain.
      const double ratio = error <= rounding ? 0 : (error - rounding) / bound;
      comparison.out_ratio = std::fmax(comparison.out_ratio, ratio);
    }
  }
};

std::string first_difference(const std::vector<float>& a, const std::vector<float>& b,
                             const char* name) {
  for (size_t i = 0; i < a.size(); ++i)
    if (bits_of_float(a[i]) != bits_of_float(b[i])) {
      std::ostringstream text;
      text.precision(9);
      text << name << " element " << i << " is " << a[i] << " in one and " << b[i]
           << " in the other";
      return text.str();
    }
  return a.size() == b.size() ? "" : std::string(name) + " has another size";
}

}  // namespace

Comparison compare(const Geometry& g, const Expected& expected, const Result& result,
                   const Arithmetic& arithmetic) {
  if (!result.complaint.empty()) return {.complaint = result.complaint};
  Comparer comparer{g, expected, result, arithmetic};
  for (size_t row = 0; row < expected.rows.size(); ++row) {
    if (!result.lse.empty()) comparer.check_lse(row);
    for (size_t e = 0; e < static_cast<size_t>(g.head_dim_v); ++e) comparer.check_element(row, e);
  }
  return comparer.comparison;
}

std::string differing_bits(const Result& a, const Result& b) {
  if (!a.complaint.empty()) return a.complaint;
  if (!b.complaint.empty()) return b.complaint;
  const std::string out = first_difference(a.out, b.out, "out");
  return out.empty() ? first_difference(a.lse, b.lse, "lse") : out;
}

}  // namespace pagoda::conformance

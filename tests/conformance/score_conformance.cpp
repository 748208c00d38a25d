// Score expressions in attention: random ones over random cases on both forms of the reference and
// the CPU backend, with and without a block mask, against the oracle; and soft-cap and ALiBi as
// expressions against the built-in ones.
#include <gtest/gtest.h>

#include <cstdio>

#include "backends.h"
#include "compare.h"
#include "mask_case.h"
#include "src/mask/evaluate.h"
#include "src/mask/parse.h"
#include "tests/unit/mask/random_expr.h"

namespace pagoda::conformance {
namespace {

// As steep as the oracle's bound allows.
std::string draw_score(Random& random) {
  const auto number = [&](double low, double high) {
    return std::to_string(random.uniform(low, high));
  };
  static const char* const kinds[] = {
      "max(score, -C)",
      "abs(score)",
      "C * tanh(score / C)",
      "score + f[k]",
      "score + f[h % 7] * float(k - q) / 64.0",
      "score - D * float(abs(q - k))",
      "q // 7 == k // 7 ? score : score - C",
      "score * (float(k % 5) / 4.0)",
      "C * exp(-abs(score))",
      "sqrt(1.0 + abs(score))",
      "log(1.0 + abs(score)) + float(g)",
      "(q + k) % 3 == 0 && k < seq_len - 2 ? -score : min(score, C)",
      "score + (a[q] == a[k] ? D : -D)",
      "score * D + float(b[r, k % 30]) / 16.0",
      "x / 8.0 - score"};
  std::string text = kinds[random.between<size_t>(0, std::size(kinds) - 1)];
  for (const auto& [letter, value] :
       {std::pair{'C', number(0.5, 30)}, std::pair{'D', number(0.01, 1)}})
    for (size_t at; (at = text.find(letter)) != std::string::npos;) text.replace(at, 1, value);
  return text;
}

Geometry draw_tame(uint64_t seed) {
  Geometry g = draw_geometry(seed + 9'000'000);
  // What overflows float before the expression sees it has no value to compare.
  if (g.regime == Regime::max_finite || g.regime == Regime::nonfinite) g.regime = Regime::gaussian;
  return g;
}

mask::Point point_of(const Geometry& g, size_t r, int32_t head, int32_t i, int32_t j) {
  mask::Point point;
  point[mask::Variable::request] = static_cast<int64_t>(r);
  point[mask::Variable::head] = head;
  point[mask::Variable::kv_head] = head / g.group;
  point[mask::Variable::query] = g.requests[r].position(i);
  point[mask::Variable::key] = j;
  point[mask::Variable::seq_len] = g.requests[r].seq_len;
  point[mask::Variable::query_len] = g.requests[r].query_len;
  return point;
}

struct ScoreCase {
  explicit ScoreCase(uint64_t number)
      : index(number),
        geometry(draw_tame(number)),
        names(number),
        random(stream_of(number, 5)),
        text(draw_score(random)),
        score(text, PAGODA_EXPR_SCORE, names),
        causal("q >= k && q - k < 100 || k % 3 == 0", PAGODA_EXPR_MASK, names),
        has_mask(random.chance(0.5)),
        values(draw_values(geometry, number)) {}

  Result run(const Context& context, const char* kernel, uint64_t fill_seed = 0) {
    Step step(geometry, values, {.pages_seed = index, .fill_seed = fill_seed});
    step.spec.score_expr = score.expr();
    step.spec.has_block_mask = has_mask ? 1 : 0;
    if (has_mask) step.batch.block_mask = &causal.build(step, 64, 64);
    return step.run(context, kernel);
  }

  Expected expected() const {
    const mask::Expr expr = mask::parse_score(text, mask::test_symbols());
    std::vector<mask::Value> scratch(expr.nodes.size());
    const Shows shows = [this](size_t r, int32_t, int32_t i, int32_t j) {
      const int32_t q = geometry.requests[r].position(i);
      return !has_mask || (q >= j && q - j < 100) || j % 3 == 0;
    };
    return attend<double>(geometry, values, shows,
                          [&](double s, size_t r, int32_t head, int32_t i, int32_t j) {
                            mask::Point point = point_of(geometry, r, head, i, j);
                            point.score = static_cast<float>(s);
                            return static_cast<double>(
                                mask::evaluate(expr, names.bindings(), point, scratch.data()).f);
                          });
  }

  const uint64_t index;
  const Geometry geometry;
  const MaskNames names;
  Random random;
  const std::string text;
  BuiltBlockMask score, causal;
  const bool has_mask;
  const Values values;
};

TEST(ScoreConformance, RandomExpressions) {
  Backends backends;
  double worst = 0;
  for (uint64_t index = 0; index < 2000 && !HasFailure(); ++index) {
    ScoreCase it(index);
    const std::string what = it.text + ", " + describe(it.geometry);
    const Expected expected = it.expected();
    Arithmetic arithmetic = kFloat;
    const auto check = [&](const Result& result, const char* who) {
      const Comparison comparison = compare(it.geometry, expected, result, arithmetic);
      EXPECT_EQ(comparison.complaint, "") << who << ": case " << index << ": " << what;
      worst = std::fmax(worst, comparison.out_ratio);
    };
    if (it.geometry.num_splits <= 1)
      check(it.run(backends.reference(), "reference.direct"), "reference.direct");
    check(it.run(backends.reference(), "reference.online"), "reference.online");
    const Context& cpu = backends.cpu(it.geometry.isa, it.geometry.num_threads);
    const Result first = it.run(cpu, nullptr);
    arithmetic = Backends::arithmetic(it.geometry, it.geometry.isa);
    check(first, "cpu");
    EXPECT_EQ(differing_bits(first, it.run(cpu, nullptr, index | 1)), "") << what;
  }
  std::printf("2000 expressions; largest error / bound %.3f\n", worst);
}

// The expression in place of a built-in part of the score: within twice the bound of each other,
// since each is within the bound of the truth.
void expect_like_built_in(const std::function<bool(Geometry&)>& fits, const char* text,
                          const std::function<void(Geometry&)>& drop) {
  Backends backends;
  int taken = 0;
  for (uint64_t seed = 0; taken < 100; ++seed) {
    Geometry with = draw_tame(seed);
    if (!fits(with)) continue;
    ++taken;
    const Values values = draw_values(with, seed);
    Geometry without = with;
    drop(without);
    Values bare = values;
    bare.alibi_slopes.clear();
    const std::vector<pagoda_name> declared = {{"slope", PAGODA_NAME_FLOAT, 1},
                                               {"cap", PAGODA_NAME_FLOAT, 0}};
    Sized<pagoda_expr_options> options;
    options.kind = PAGODA_EXPR_SCORE;
    options.text = text;
    options.names = declared.data();
    options.num_names = 2;
    pagoda_expr* expr = nullptr;
    check(pagoda_expr_create(&options, &expr));
    const int64_t shape[] = {static_cast<int64_t>(values.alibi_slopes.size())};
    check(pagoda_expr_set_float(expr, "cap", with.softcap));
    check(pagoda_expr_set_float_table(expr, "slope", values.alibi_slopes.data(), shape, 1, 0));
    const Expected expected = attend<double>(with, values);
    for (const char* isa : kIsas) {
      Step step(without, bare, {});
      step.spec.score_expr = expr;
      const Result result = step.run(backends.cpu(isa, with.num_threads));
      EXPECT_EQ(compare(with, expected, result, Backends::arithmetic(with, isa)).complaint, "")
          << text << " on " << isa << ", " << describe(with);
    }
    pagoda_expr_destroy(expr);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(ScoreConformance, SoftCapAsAnExpression) {
  expect_like_built_in([](Geometry& g) { return g.softcap > 0 && g.alibi == PAGODA_ALIBI_NONE; },
                       "cap * tanh(score / cap)", [](Geometry& g) { g.softcap = 0; });
}

TEST(ScoreConformance, AlibiAsAnExpression) {
  expect_like_built_in([](Geometry& g) { return g.alibi == PAGODA_ALIBI_LINEAR; },
                       "score + slope[h] * float(k - q)",
                       [](Geometry& g) { g.alibi = PAGODA_ALIBI_NONE; });
}

TEST(ScoreConformance, SqrtAlibiAsAnExpression) {
  expect_like_built_in([](Geometry& g) { return g.alibi == PAGODA_ALIBI_SQRT; },
                       "k <= q ? score - slope[h] * sqrt(float(q - k)) : score",
                       [](Geometry& g) { g.alibi = PAGODA_ALIBI_NONE; });
}

TEST(ScoreConformance, AMaskIsNoScore) {
  const MaskNames names(1);
  const BuiltBlockMask mask("q >= k", PAGODA_EXPR_MASK, names);
  Geometry g = draw_tame(1);
  Step step(g, draw_values(g, 1), {});
  step.spec.score_expr = mask.expr();
  Backends backends;
  const Result result = step.run(backends.cpu("scalar", 1));
  EXPECT_EQ(result.status, PAGODA_INVALID_ARGUMENT);
  EXPECT_NE(result.complaint.find("spec.score_expr is a mask"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::conformance

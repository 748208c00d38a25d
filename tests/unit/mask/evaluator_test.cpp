// Rows of bits and scores against evaluation one point at a time.
#include <gtest/gtest.h>

#include <cstring>

#include "random_expr.h"
#include "src/mask/analyzer.h"
#include "src/mask/parse.h"
#include "src/mask/print.h"
#include "src/mask/rows.h"
#include "src/mask/semantics.h"

namespace pagoda::mask {
namespace {

struct Stretch {
  int64_t query, first_key;
  int width;
};

Stretch random_stretch(RandomExpr& random) {
  return {random.number(-4, 200), random.number(0, 200),
          32 * static_cast<int>(random.number(1, 4))};
}

Point random_request(RandomExpr& random) {
  Point point;
  for (int64_t& it : point.variables) it = random.number(0, 5);
  point[Variable::seq_len] = random.number(0, 300);
  return point;
}

// As in the builder: 32 bits, and parts left out, only where the analysis allows it.
Pruning pruning_of(Analyzer& analyzer, const Point& request, const Stretch& at) {
  analyzer.set_request(box_of(request));
  analyzer.set_queries(at.query, at.query);
  const Truth truth = analyzer.decide(at.first_key, at.first_key + at.width - 1);
  return truth == Truth::undecided ? analyzer.pruning() : Pruning{};
}

TEST(RowEvaluator, GivesTheBitsOfEvaluate) {
  int64_t narrow_rows = 0, wide_rows = 0;
  for (uint64_t seed = 0; seed < 40'000; ++seed) {
    RandomExpr random(seed);
    const RandomBindings data(seed);
    const Expr expr = random.mask(static_cast<int>(random.number(1, 16)));
    const Program program = compile(expr);
    Analyzer analyzer(program, data.bindings);
    RowEvaluator rows(program, data.bindings);
    std::vector<Value> scratch(expr.nodes.size());
    const Stretch at = random_stretch(random);
    Point point = random_request(random);
    const Pruning pruning = pruning_of(analyzer, point, at);
    (pruning.narrow ? narrow_rows : wide_rows) += 1;
    uint32_t bits[kMaxLanes / 32];
    rows.set_request(point);
    rows.set_keys(at.first_key, at.width, pruning);
    rows.mask_row(at.query, bits);
    point[Variable::query] = at.query;
    for (int i = 0; i < at.width; ++i) {
      point[Variable::key] = at.first_key + i;
      const bool wanted = evaluate(expr, data.bindings, point, scratch.data()).i != 0;
      ASSERT_EQ((bits[i / 32] >> (i % 32) & 1) != 0, wanted)
          << "seed " << seed << " query " << at.query << " key " << at.first_key + i << ": "
          << print(expr, test_symbols());
    }
  }
  EXPECT_GT(narrow_rows, 1000);
  EXPECT_GT(wide_rows, 1000);
}

TEST(RowEvaluator, GivesTheScoresOfEvaluate) {
  for (uint64_t seed = 0; seed < 10'000; ++seed) {
    RandomExpr random(seed, true);
    const RandomBindings data(seed);
    const Expr expr = random.score(static_cast<int>(random.number(1, 12)));
    const Program program = compile(expr);
    RowEvaluator rows(program, data.bindings);
    std::vector<Value> scratch(expr.nodes.size());
    const Stretch at = random_stretch(random);
    Point point = random_request(random);
    float scores[kMaxLanes], given[kMaxLanes];
    for (float& it : given) it = static_cast<float>(random.number(-1000, 1000)) / 16;
    std::copy(std::begin(given), std::end(given), scores);
    rows.set_request(point);
    rows.set_keys(at.first_key, at.width, {});
    rows.score_row(at.query, scores);
    point[Variable::query] = at.query;
    for (int i = 0; i < at.width; ++i) {
      point[Variable::key] = at.first_key + i;
      point.score = given[i];
      const float wanted = evaluate(expr, data.bindings, point, scratch.data()).f;
      // NaN has many bit patterns, and which one an operation gives is not defined.
      if (wanted != wanted && scores[i] != scores[i]) continue;
      ASSERT_EQ(std::memcmp(&wanted, &scores[i], sizeof(float)), 0)
          << "seed " << seed << ": " << wanted << " and " << scores[i] << " for "
          << print(expr, test_symbols());
    }
  }
}

TEST(Semantics, FloorDivisionAndModuloHoldTheirIdentity) {
  constexpr int64_t kValues[] = {0,  1,  -1,  2,         -2,        7,
                                 -7, 64, -64, INT64_MAX, INT64_MIN, INT64_MIN + 1};
  for (int64_t a : kValues)
    for (int64_t b : kValues) {
      const int64_t quotient = floor_divide(a, b), rest = floor_modulo(a, b);
      EXPECT_EQ(wrap_add(wrap_multiply(quotient, b), rest), a) << a << ", " << b;
      const bool is_reduced = b > 0 ? rest >= 0 && rest < b : b == 0 || (rest <= 0 && rest > b);
      EXPECT_TRUE(is_reduced) << a << ", " << b;
    }
  EXPECT_EQ(floor_divide<int64_t>(-7, 2), -4);
  EXPECT_EQ(floor_modulo<int64_t>(-7, 2), 1);
  EXPECT_EQ(floor_modulo<int64_t>(7, -2), -1);
}

}  // namespace
}  // namespace pagoda::mask

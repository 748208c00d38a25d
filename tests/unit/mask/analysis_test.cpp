// Where the analysis says empty or full, evaluation of every element agrees; and it does say so
// where a person would.
#include <gtest/gtest.h>

#include "random_expr.h"
#include "src/mask/analyzer.h"
#include "src/mask/evaluate.h"
#include "src/mask/parse.h"
#include "src/mask/print.h"

namespace pagoda::mask {
namespace {

struct Decided {
  Truth truth;
  bool contradicted;
};

Box random_box(RandomExpr& random) {
  Box box{};
  const auto range = [&](Variable which, int64_t low, int64_t high, int64_t width) {
    const int64_t from = random.number(low, high);
    box.set(which, from, from + random.number(0, width));
  };
  range(Variable::request, 0, 3, 0);
  range(Variable::head, 0, 7, 0);
  range(Variable::kv_head, 0, 3, 0);
  range(Variable::seq_len, 1, 200, 2);
  range(Variable::query_len, 1, 40, 0);
  range(Variable::query, -4, 160, random.number(0, 11));
  range(Variable::key, 0, 160, random.number(0, 11));
  if (random.number(0, 2) == 0) box.min_distance = random.number(-8, 2);
  return box;
}

// Every point of the box (of seq_len, the ends).
bool contradicts(const Expr& expr, const Bindings& bindings, const Box& box, Truth truth,
                 std::vector<Value>& scratch) {
  scratch.resize(expr.nodes.size());
  Point point;
  for (int i = 0; i < kNumVariables - 1; ++i) point.variables[i] = box.low[i];
  for (int64_t s : {box.low_of(Variable::seq_len), box.high_of(Variable::seq_len)})
    for (int64_t q = box.low_of(Variable::query); q <= box.high_of(Variable::query); ++q)
      for (int64_t k = box.low_of(Variable::key); k <= box.high_of(Variable::key); ++k) {
        if (q - k < box.min_distance) continue;
        point[Variable::seq_len] = s;
        point[Variable::query] = q;
        point[Variable::key] = k;
        const bool visible = evaluate(expr, bindings, point, scratch.data()).i != 0;
        if (visible != (truth == Truth::full)) return true;
      }
  return false;
}

// A million (expression, tile) pairs that the analysis decides, of expressions that depend on q or
// k.
TEST(Analysis, IsNeverContradictedByEvaluation) {
  constexpr int64_t kWanted = 1'000'000;
  int64_t decided = 0, drawn = 0, full = 0;
  std::vector<Value> scratch;
  for (uint64_t seed = 0; decided < kWanted; ++seed) {
    RandomExpr random(seed);
    const RandomBindings data(seed);
    const Expr expr = random.mask(static_cast<int>(random.number(1, 14)));
    const Program program = compile(expr);
    if (program.root().rank == Rank::uniform) continue;  // says nothing about tiles
    Analyzer analyzer(program, data.bindings);
    for (int tile = 0; tile < 24; ++tile, ++drawn) {
      const Box box = random_box(random);
      analyzer.set_request(box);
      analyzer.set_queries(box.low_of(Variable::query), box.high_of(Variable::query));
      const Truth truth = analyzer.decide(box.low_of(Variable::key), box.high_of(Variable::key));
      if (truth == Truth::undecided) continue;
      ++decided;
      full += truth == Truth::full;
      ASSERT_FALSE(contradicts(expr, data.bindings, box, truth, scratch))
          << "seed " << seed << " tile " << tile << ": " << print(expr, test_symbols());
    }
  }
  std::printf("%lld of %lld tiles decided, %lld of them full\n", static_cast<long long>(decided),
              static_cast<long long>(drawn), static_cast<long long>(full));
  EXPECT_GT(full, kWanted / 10);
  EXPECT_LT(full, kWanted - kWanted / 10);
}

Truth decide(const char* text, int64_t q0, int64_t q1, int64_t k0, int64_t k1) {
  const RandomBindings data(1);
  const Program program = compile(parse_mask(text, test_symbols()));
  Analyzer analyzer(program, data.bindings);
  Box box{};
  box.set(Variable::seq_len, 1000, 1000);
  analyzer.set_request(box);
  analyzer.set_queries(q0, q1);
  return analyzer.decide(k0, k1);
}

TEST(Analysis, RemembersThatDifferencesAreCorrelated) {
  EXPECT_EQ(decide("q - k < 64 - k", 0, 63, 0, 999), Truth::full);
  EXPECT_EQ(decide("q + k - k - q == 0", 5, 900, 5, 900), Truth::full);
  EXPECT_EQ(decide("2 * q - (q + q) < 1", 0, 900, 0, 900), Truth::full);
  EXPECT_EQ(decide("q - q % 64 == 128", 128, 191, 0, 9), Truth::full);
  EXPECT_EQ(decide("q - q // 64 * 64 < 32", 128, 159, 0, 9), Truth::full);
  EXPECT_EQ(decide("min(q, k) < max(q, k) - 5", 100, 120, 0, 90), Truth::full);
  EXPECT_EQ(decide("(q > k ? q - k : k - q) >= 0", 100, 120, 200, 220), Truth::full);
}

TEST(Analysis, KnowsTheSignsOfFloorDivision) {
  EXPECT_EQ(decide("(k - 64) // 64 == -1", 0, 0, 0, 63), Truth::full);
  EXPECT_EQ(decide("(k - 64) % 64 == k", 0, 0, 0, 63), Truth::full);
  EXPECT_EQ(decide("k // 0 == 0 && k % 0 == k", 0, 0, 0, 63), Truth::full);
  EXPECT_EQ(decide("k % -64 <= 0", 0, 0, 0, 900), Truth::full);
}

TEST(Analysis, DoesNotTrustSumsThatMayWrap) {
  EXPECT_EQ(decide("k + 9223372036854775807 > 0", 0, 0, 0, 9), Truth::undecided);
  EXPECT_EQ(decide("k + 9223372036854775807 > 0", 0, 0, 0, 0), Truth::full);
  EXPECT_EQ(decide("k * 9223372036854775807 >= 0", 0, 0, 0, 9), Truth::undecided);
}

// For causal and window masks every tile whose elements agree is decided.
TEST(Analysis, DecidesEveryDecidableTileOfBands) {
  const char* const texts[] = {
      "q >= k",           "q >= k && q - k < 37",         "abs(q - k) <= 21",
      "k < 50 || q >= k", "q >= k && q // 48 == k // 48", "q >= k && (k < 9 || q - k < 37)"};
  const RandomBindings data(1);
  std::vector<Value> scratch;
  for (const char* text : texts) {
    const Expr expr = parse_mask(text, test_symbols());
    const Program program = compile(expr);
    Analyzer analyzer(program, data.bindings);
    Box box{};
    box.set(Variable::seq_len, 1000, 1000);
    analyzer.set_request(box);
    for (int64_t q = 0; q < 256; q += 16)
      for (int64_t k = 0; k < 256; k += 16) {
        box.set(Variable::query, q, q + 15);
        box.set(Variable::key, k, k + 15);
        analyzer.set_queries(q, q + 15);
        if (analyzer.decide(k, k + 15) != Truth::undecided) continue;
        EXPECT_TRUE(contradicts(expr, data.bindings, box, Truth::full, scratch) &&
                    contradicts(expr, data.bindings, box, Truth::empty, scratch))
            << text << " at " << q << ", " << k;
      }
  }
}

}  // namespace
}  // namespace pagoda::mask

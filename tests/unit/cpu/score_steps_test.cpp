// Score expressions as steps over units: every operator, held to evaluate() element by element.
#include "cpu/score_steps.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/features.h"
#include "mask/analyzer.h"
#include "mask/parse.h"
#include "mask/print.h"
#include "tests/unit/mask/random_expr.h"

namespace pagoda::cpu {
namespace {

#ifdef PAGODA_CPU_X86
using mask::Variable;

constexpr int kRows = kRowPadding, kKeys = kTileKeys;

struct Memory {
  explicit Memory(size_t size) : data(static_cast<std::byte*>(std::aligned_alloc(64, size))) {}
  ~Memory() { std::free(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data;
};

// A tile of logits with what its rows and keys are.
struct Tile {
  mask::Point point;
  Shard shard;
  int32_t first_head, group, first_row, num_rows, first_key;
  int32_t positions[3 * kRows];
  alignas(64) float given[kKeys * kRows], scores[kKeys * kRows];

  explicit Tile(mask::RandomExpr& random) {
    const auto draw = [&](int64_t low, int64_t high) {
      return static_cast<int32_t>(random.number(low, high));
    };
    point[Variable::request] = draw(0, 20);
    point[Variable::kv_head] = draw(0, 7);
    point[Variable::seq_len] = draw(1, 300);
    point[Variable::query_len] = draw(1, 40);
    group = draw(1, 5);
    first_head = draw(0, 3) * group;
    first_row = draw(0, 2) * kRows;
    num_rows = draw(1, kRows);
    first_key = draw(0, 20) * kKeys;
    if (draw(0, 3) == 0) shard = {.rank = 1, .num_ranks = 3, .interleave = draw(1, 40)};
    for (int32_t& it : positions) it = draw(-3, 300);
    for (float& it : given) it = static_cast<float>(draw(-1000, 1000)) / 16;
    std::copy(std::begin(given), std::end(given), scores);
  }

  // Of one element; lanes behind the rows are those of the first.
  mask::Point at(int key, int lane) const {
    mask::Point it = point;
    const int32_t row = first_row + (lane < num_rows ? lane : 0);
    it[Variable::query] = positions[row];
    it[Variable::head] = first_head + row % group;
    it[Variable::key] = position_of(shard, first_key + key);
    it.score = given[key * kRows + lane];
    return it;
  }
};

// As is_narrow of score_rows.h has it, for any tile that the test draws.
bool is_narrow(const mask::Program& program, const mask::Bindings& bindings) {
  mask::Analyzer analyzer(program, bindings);
  mask::Box box{};
  for (const Variable it : {Variable::request, Variable::head, Variable::kv_head})
    box.set(it, 0, 40);
  box.set(Variable::seq_len, 0, 300);
  box.set(Variable::query_len, 0, 40);
  analyzer.set_request(box);
  analyzer.set_queries(-3, 300);
  analyzer.decide(0, 6000);
  return analyzer.all_narrow();
}

bool has(const mask::Expr& expr, std::initializer_list<mask::Op> ops) {
  for (const mask::Node& node : expr.nodes)
    for (const mask::Op op : ops)
      if (node.op == op) return true;
  return false;
}

// Functions that only come near: the rest of the expression may take their last bit anywhere.
bool is_exact(const mask::Expr& expr) {
  return !has(expr, {mask::Op::tanh, mask::Op::exp, mask::Op::log});
}

// Whether the steps gave each element what evaluate() does; sets `ran`.
void check(const mask::Expr& expr, const mask::Bindings& bindings, Tile& tile, bool& ran) {
  const mask::Program program =
      compile(expr, tile.shard.is_whole() ? mask::KeyOrder::in_order : mask::KeyOrder::dealt);
  const size_t bytes = ScoreStepper::bytes(program);
  ran = false;
  if (bytes == 0 || !is_narrow(program, bindings)) return;
  const Memory memory(bytes);
  ScoreStepper stepper(program, bindings, tile.shard, memory.data);
  if (stepper.steps() == nullptr) return;
  ran = true;
  stepper.set_item({tile.point, tile.first_head, tile.group, 0, tile.positions});
  amx::run_score_steps(*stepper.steps(), tile.first_row, tile.num_rows, tile.first_key,
                       tile.scores);
  std::vector<mask::Value> scratch(expr.nodes.size());
  for (int i = 0; i < kKeys * kRows; ++i) {
    const float wanted = evaluate(expr, bindings, tile.at(i / kRows, i % kRows), scratch.data()).f;
    if (wanted != wanted && tile.scores[i] != tile.scores[i]) continue;
    ASSERT_EQ(std::memcmp(&wanted, &tile.scores[i], sizeof(float)), 0)
        << wanted << " and " << tile.scores[i] << " at key " << i / kRows << ", row " << i % kRows
        << " of " << print(expr, mask::test_symbols());
  }
}

class ScoreSteps : public testing::Test {
 protected:
  void SetUp() override {
    if (!detect_features().amx) GTEST_SKIP() << "this machine has no AMX, or refuses it";
  }
};

TEST_F(ScoreSteps, GiveTheScoresOfEvaluate) {
  int count = 0;
  for (uint64_t seed = 0; seed < 10'000 && !HasFailure(); ++seed) {
    mask::RandomExpr random(seed, true);
    const mask::RandomBindings data(seed);
    const mask::Expr expr = random.score(static_cast<int>(random.number(1, 12)));
    Tile tile(random);
    if (!is_exact(expr)) continue;
    SCOPED_TRACE(seed);
    bool ran = false;
    check(expr, data.bindings, tile, ran);
    count += ran;
  }
  EXPECT_GT(count, 1000);
}

TEST_F(ScoreSteps, TakeTheExpressionsOfModels) {
  const mask::RandomBindings data(3);
  for (const char* text :
       {"score", "score / 30.0", "score + f[h] * float(k - q)", "score / (float(k - q) + 0.5)",
        "k <= q ? score - f[h] * sqrt(float(q - k)) : score", "score + f[abs(q - k) // 4]",
        "score + float(a[abs(q - k) % 30])", "(q + k) % 3 == 0 ? -score : min(score, 2.0)"}) {
    const mask::Expr expr = mask::parse_score(text, mask::test_symbols());
    mask::RandomExpr random(7, true);
    Tile tile(random);
    bool ran = false;
    check(expr, data.bindings, tile, ran);
    EXPECT_TRUE(ran) << text;
  }
}

// Within a few units of the last place, and at the ends of their ranges.
TEST_F(ScoreSteps, FunctionsComeNear) {
  const mask::RandomBindings data(1);
  const mask::Expr exprs[] = {mask::parse_score("tanh(score)", mask::test_symbols()),
                              mask::parse_score("exp(score)", mask::test_symbols())};
  for (const mask::Expr& expr : exprs) {
    mask::RandomExpr random(7, true);
    Tile tile(random);
    const mask::Program program = compile(expr);
    const Memory memory(ScoreStepper::bytes(program));
    ScoreStepper stepper(program, data.bindings, {}, memory.data);
    ASSERT_NE(stepper.steps(), nullptr);
    stepper.set_item({tile.point, 0, 1, 0, tile.positions});
    for (int i = 0; i < kKeys * kRows; ++i) tile.given[i] = static_cast<float>(i - 512) / 5;
    tile.given[0] = INFINITY;
    tile.given[1] = -INFINITY;
    tile.given[2] = 0;
    std::copy(std::begin(tile.given), std::end(tile.given), tile.scores);
    amx::run_score_steps(*stepper.steps(), 0, kRows, 0, tile.scores);
    for (int i = 0; i < kKeys * kRows; ++i) {
      const bool is_tanh = expr.root().op == mask::Op::tanh;
      const double wanted = is_tanh ? std::tanh(tile.given[i]) : std::exp(tile.given[i]);
      if (!is_tanh && tile.given[i] > 88.7f) {
        EXPECT_EQ(tile.scores[i], INFINITY) << tile.given[i];
        continue;
      }
      if (!is_tanh && tile.given[i] < -87) {  // what would be subnormal is 0
        EXPECT_EQ(tile.scores[i], 0.0f) << tile.given[i];
        continue;
      }
      EXPECT_NEAR(tile.scores[i], wanted, 1e-6 * std::fabs(wanted)) << tile.given[i];
    }
  }
}
#endif

}  // namespace
}  // namespace pagoda::cpu

// Any bytes as a mask or score expression. It is refused with a sentence and a column inside the
// text, or it is printed and read back the same, and its tile is the same by rows of bits as pair
// by pair; where analysis decides the tile, no pair contradicts it; and a block mask of a small
// batch is built and built again.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../src/mask/builder.h"
#include "../src/mask/evaluate.h"
#include "../src/mask/parse.h"
#include "../src/mask/print.h"
#include "bytes.h"

namespace {

using namespace pagoda::mask;

void require(bool ok) {
  if (!ok) std::abort();
}

const Symbols& fuzz_symbols() {
  static const Symbols symbols = [] {
    Symbols it;
    it.add_parameter("n", Type::integer);
    it.add_parameter("x", Type::real);
    it.add_table("a", Type::integer, 1);
    it.add_table("b", Type::integer, 2);
    it.add_table("f", Type::real, 1);
    return it;
  }();
  return symbols;
}

struct World {
  World() : bindings(fuzz_symbols()) {
    for (size_t i = 0; i < ints.size(); ++i) ints[i] = static_cast<int32_t>(i * 7919 % 23) - 4;
    for (size_t i = 0; i < reals.size(); ++i) reals[i] = static_cast<float>(ints[i]) / 4;
    bindings.set("n", int64_t{9});
    bindings.set("x", 1.5f);
    bindings.set_table("a", ints.data(), {64}, -1);
    bindings.set_table("b", ints.data(), {8, 8});
    bindings.set_table("f", reals.data(), {64});
  }

  std::vector<int32_t> ints = std::vector<int32_t>(64);
  std::vector<float> reals = std::vector<float>(64);
  Bindings bindings;
};

struct Place {
  Point point;
  int64_t query, key;
};

Place draw_place(pagoda::fuzz::Bytes& in) {
  Place place{.point = {}, .query = in.number(-3, 90), .key = in.byte()};
  place.query = std::clamp<int64_t>(place.query, INT32_MIN, INT32_MAX);
  place.point[Variable::head] = in.number(0, 3);
  place.point[Variable::seq_len] = in.number(0, 100);
  return place;
}

void check_mask(const Expr& mask, const World& world, const Place& at) {
  const Program program = compile(mask);
  Analyzer analyzer(program, world.bindings);
  RowEvaluator rows(program, world.bindings);
  std::vector<Value> scratch(mask.nodes.size());
  analyzer.set_request(box_of(at.point));
  analyzer.set_queries(at.query, at.query + 1);
  const Truth truth = analyzer.decide(at.key, at.key + 31);
  rows.set_request(at.point);
  rows.set_keys(at.key, 32, truth == Truth::undecided ? analyzer.pruning() : Pruning{});
  Point point = at.point;
  for (int64_t query = at.query; query < at.query + 2; ++query) {
    uint32_t bits;
    rows.mask_row(query, &bits);
    point[Variable::query] = query;
    for (int i = 0; i < 32; ++i) {
      point[Variable::key] = at.key + i;
      const bool visible = evaluate(mask, world.bindings, point, scratch.data()).i != 0;
      require(visible == ((bits >> i & 1) != 0));
      require(truth == Truth::undecided || visible == (truth == Truth::full));
    }
  }
}

void check_block_mask(const Expr& mask, const World& world) {
  BlockMaskBuilder builder(mask, world.bindings, {.tile_q = 8, .tile_kv = 32, .num_heads = 2},
                           {.max_reqs = 2, .max_tokens = 20, .max_seq_len = 80});
  const int32_t starts[] = {0, 17, 18}, lens[] = {40, 65}, longer[] = {40, 66};
  const Capacity bound = builder.upper_bound();
  std::vector<uint64_t> memory(bound.bytes() / 8 + 16);
  void* data = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) / 8;
  builder.build({2, starts, lens}, {data, bound});
  const BlockMask next = builder.build({2, starts, longer}, {data, bound});
  const Capacity need = builder.measure({2, starts, longer});
  require(next.row_start[need.rows] == need.entries);
}

void check_score(const Expr& score, const World& world, const Place& at) {
  const Program program = compile(score);
  RowEvaluator rows(program, world.bindings);
  std::vector<Value> scratch(score.nodes.size());
  float scores[32];
  for (int i = 0; i < 32; ++i) scores[i] = static_cast<float>(i - 16) / 2;
  rows.set_request(at.point);
  rows.set_keys(at.key, 32, {});
  rows.score_row(at.query, scores);
  Point point = at.point;
  point[Variable::query] = at.query;
  for (int i = 0; i < 32; ++i) {
    point[Variable::key] = at.key + i;
    point.score = static_cast<float>(i - 16) / 2;
    const float wanted = evaluate(score, world.bindings, point, scratch.data()).f;
    const bool both_nan = wanted != wanted && scores[i] != scores[i];
    require(both_nan || std::memcmp(&wanted, &scores[i], sizeof(wanted)) == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const World world;
  const size_t head = std::min<size_t>(size, 8);
  pagoda::fuzz::Bytes in(data, head);
  const bool is_score = in.flag();
  const Place at = draw_place(in);
  const std::string text(reinterpret_cast<const char*>(data) + head, size - head);
  const Symbols& symbols = fuzz_symbols();
  const auto parse = [&](const std::string& it) {
    return is_score ? parse_score(it, symbols) : parse_mask(it, symbols);
  };
  try {
    const Expr expr = parse(text);
    const std::string printed = print(expr, symbols);
    // The canonical text may be longer than what is accepted.
    if (printed.size() <= kMaxText) require(parse(printed) == expr);
    if (is_score) {
      check_score(expr, world, at);
    } else {
      check_mask(expr, world, at);
      check_block_mask(expr, world);
    }
  } catch (const ExpressionError& error) {
    require(error.sentence.size() > 5 && error.column >= 1 &&
            error.column <= static_cast<int>(text.size()) + 1);
  }
  return 0;
}

// Any bytes as a mask or score expression. It is refused with a sentence and a column inside the
// text, or it is printed and read back the same, and its tile is the same by rows of bits as pair
// by pair; where analysis decides the tile, no pair contradicts it; and the block mask of a small
// batch, built from nothing and continued, shows what the pairs of its rows say.
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
#include "mask_grammar.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using namespace pagoda::mask;

constexpr size_t kHead = 8;  // bytes that say where; the text follows

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
  BlockMaskShape shape;
  int32_t seq_len;  // of the request that decodes
  int32_t row;      // the query of the other request that is held against its definition
  int32_t head;
};

Place draw_place(pagoda::fuzz::Bytes& in) {
  Place place{.point = {}, .query = in.number(-3, 90), .key = in.byte()};
  place.query = std::clamp<int64_t>(place.query, INT32_MIN, INT32_MAX);
  const uint8_t shape = in.byte();
  place.shape = {.tile_q = shape & 1 ? 4 : 16, .tile_kv = shape & 2 ? 32 : 64, .num_heads = 2};
  place.head = shape >> 2 & 1;
  place.row = shape >> 3;
  place.seq_len = 59 + in.byte() % 8;
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

constexpr int32_t kPrefill = 19, kPrefillLen = 70, kSteps = 2;

// The bit of one pair, of query `i` of the request.
bool bit_of(const BlockMask& mask, int32_t request, int32_t head, int32_t i, int32_t key) {
  const int64_t row = mask.list_of(request, i / mask.tile_q, mask.num_heads == 1 ? 0 : head);
  for (int32_t at = mask.row_start[row]; at < mask.row_start[row + 1]; ++at) {
    if (mask.tile[at] != key / mask.tile_kv) continue;
    if (mask.bits_at[at] < 0) return true;
    const uint32_t* bits = mask.bits + mask.bits_at[at] + i % mask.tile_q * (mask.tile_kv / 32);
    return (bits[key % mask.tile_kv / 32] >> key % 32 & 1) != 0;
  }
  return false;
}

void check_block_mask_row(const Expr& expr, const World& world, const BlockMask& mask,
                          const Step& step, int32_t request, int32_t head, int32_t i) {
  std::vector<Value> scratch(expr.nodes.size());
  const int32_t seq_len = step.seq_lens[request];
  Point point;
  point[Variable::request] = request;
  point[Variable::head] = head;
  point[Variable::seq_len] = seq_len;
  point[Variable::query_len] = step.query_start_loc[request + 1] - step.query_start_loc[request];
  point[Variable::query] = seq_len - point[Variable::query_len] + i;
  for (int32_t key = 0; key < seq_len; ++key) {
    point[Variable::key] = key;
    const bool visible = evaluate(expr, world.bindings, point, scratch.data()).i != 0;
    require(visible == bit_of(mask, request, head, i, key));
  }
}

// A request with many queries, and one that decodes over some steps in the same memory.
void check_block_mask(const Expr& expr, const World& world, const Place& at) {
  BlockMaskBuilder builder(expr, world.bindings, at.shape,
                           {.max_reqs = 2, .max_tokens = 20, .max_seq_len = 80});
  const Capacity bound = builder.upper_bound();
  std::vector<uint64_t> memory(bound.bytes() / 8 + 16);
  void* data = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) / 8;
  const int32_t starts[] = {0, kPrefill, kPrefill + 1};
  int32_t lens[] = {kPrefillLen, at.seq_len};
  for (int i = 0; i < kSteps; ++i, ++lens[1]) {
    const Step step{2, starts, lens};
    const BlockMask mask = builder.build(step, {data, bound});
    check_block_mask_row(expr, world, mask, step, 1, at.head, 0);
    if (i > 0) continue;
    check_block_mask_row(expr, world, mask, step, 0, at.head, at.row % kPrefill);
    if (at.row % 4 != 0) continue;
    const Capacity need = builder.measure(step);
    require(mask.num_entries == need.entries && mask.num_words == need.words);
  }
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

// Sometimes the bytes as they come, mostly another expression: see mask_grammar.h.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  pagoda::fuzz::MaskGrammar grammar(seed);
  const uint32_t kind = grammar.below(16);
  if (kind == 0 || max_size <= kHead) return LLVMFuzzerMutate(data, size, max_size);
  for (size_t i = size; i < kHead; ++i) data[i] = static_cast<uint8_t>(grammar.below(256));
  size = std::max(size, kHead);
  if (kind < 4) data[grammar.below(kHead)] = static_cast<uint8_t>(grammar.below(256));
  if (kind == 1) return size;
  const bool is_score = (data[0] & 1) != 0;
  std::string text(reinterpret_cast<const char*>(data) + kHead, size - kHead);
  text = kind == 2 ? grammar.text(is_score) : grammar.changed(text, is_score);
  const size_t length = std::min(text.size(), max_size - kHead);
  std::copy_n(text.data(), length, data + kHead);
  return kHead + length;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const World world;
  const size_t head = std::min(size, kHead);
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
      check_block_mask(expr, world, at);
    }
  } catch (const ExpressionError& error) {
    require(error.sentence.size() > 5 && error.column >= 1 &&
            error.column <= static_cast<int>(text.size()) + 1);
  }
  return 0;
}

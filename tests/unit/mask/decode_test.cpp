// Step after step in the same memory gives exactly what a fresh build of each step gives.
#include <gtest/gtest.h>

#include "built_mask.h"
#include "count_allocations.h"
#include "random_expr.h"
#include "src/mask/gallery.h"
#include "src/mask/parse.h"
#include "src/mask/print.h"

namespace pagoda::mask {
namespace {

constexpr int32_t kReqs = 5, kMaxLen = 400;

struct Kept {
  explicit Kept(const BlockMaskBuilder& builder)
      : capacity(builder.upper_bound()), bytes(capacity.bytes() + 64, 0x5a) {}
  Memory memory() { return {aligned(bytes), capacity}; }
  Capacity capacity;
  std::vector<uint8_t> bytes;
};

// A batch that mostly grows by a token per request; sometimes a request begins anew, is chunked,
// drops out or is preempted, so that those behind it move up, and sometimes one joins.
void advance(Batch& batch, RandomExpr& random) {
  std::vector<int32_t> lens = batch.seq_lens, queries;
  if (random.number(0, 19) == 0 && lens.size() > 1)
    lens.erase(lens.begin() + random.number(0, static_cast<int64_t>(lens.size()) - 1));
  if (random.number(0, 9) == 0 && lens.size() < kReqs) lens.push_back(0);
  batch = {};
  for (int32_t len : lens) {
    int32_t query_len = 1;
    const int64_t event = random.number(0, 60);
    if (event == 0) len = static_cast<int32_t>(random.number(0, 200));
    if (event == 1) query_len = static_cast<int32_t>(random.number(0, 40));
    if (event == 2) query_len = static_cast<int32_t>(random.number(2, 6));
    len = len + query_len > kMaxLen ? query_len : len + query_len;
    batch.add(len, query_len);
  }
}

void run_steps(const Expr& expr, Bindings& bindings, const BlockMaskShape& shape, uint64_t seed,
               int num_steps, const std::string& text) {
  const BlockMaskLimits limits{.max_reqs = kReqs, .max_tokens = kReqs * 60, .max_seq_len = kMaxLen};
  BlockMaskBuilder builder(expr, bindings, shape, limits);
  Kept kept(builder);
  RandomExpr random(seed);
  Batch batch;
  for (int i = 0; i < 3; ++i) batch.add(static_cast<int32_t>(random.number(0, 150)), 0);
  for (int step = 0; step < num_steps; ++step) {
    advance(batch, random);
    const BlockMask mask = builder.build(batch.step(), kept.memory());
    BlockMaskBuilder fresh(expr, bindings, shape, limits);
    const BuiltMask wanted(fresh, batch);
    ASSERT_EQ(lists_of(mask, wanted.need()), wanted.lists())
        << "seed " << seed << " step " << step << ": " << text;
    if (step % 4 == 0) {
      ASSERT_TRUE(wanted.matches(expr, bindings, shape)) << text;
    }
  }
}

TEST(Decode, EveryStepEqualsAFreshBuild) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    RandomExpr random(seed);
    RandomBindings data(seed);
    const Expr expr = random.mask(static_cast<int>(random.number(1, 14)));
    const BlockMaskShape shape{.tile_q = random.number(0, 1) == 0 ? 4 : 16,
                               .tile_kv = 32 << random.number(0, 3),
                               .num_heads = 2,
                               .num_kv_heads = 1};
    run_steps(expr, data.bindings, shape, seed, 40, print(expr, test_symbols()));
    if (HasFailure()) return;
  }
}

// Each is of a kind that decode has a way of its own for: the distance alone counts, in one tile or
// in many, with remainders, tables or select; or what rows have in common stands still for a while;
// or pairs ahead of their query, which do not exist, would be seen otherwise than those that do.
TEST(Decode, EveryStepOfEveryKindEqualsAFreshBuild) {
  RandomBindings data(3);
  for (const char* text : {
           "q - k < 37",
           "q - k < 300 && (q - k) % 3 == 0",
           "abs(q - k) % 50 < 20",
           "q // 20 == k // 20 || q % 20 - k % 20 == 3",
           "abs(q // 32 - k // 32) <= 2 && abs(q % 32 - k % 32) <= 5",
           "b[q % 20, q - k] > 10",
           "a[q - k] > 7",
           "(q - k > 40 ? a[k] : a[q - k]) > 7",
           "a[q // 3] == a[k // 3]",
           "a[q] < a[k] || k < 5",
           "k % 40 >= 35 || q - k < 3",
           "min(q - k, 0) + a[k] > 6",
           "max(k - q, -9) + a[k] > 3",
           "(k > q ? 5 : 0) + a[k] > 6",
           "k < seq_len - 20 && a[seq_len - k] > 6",
           "seq_len - k < 60 || k < query_len",
           "f[q - k] > x - 9.0",
           "q * 2 - k * 2 < 90 && q - k != 4",
           "q - k + 9223372036854775807 > 20",
           "(q * k) % -1 > (-(x / x) - r) / (g * f[k])",  // by zeros of either sign
       })
    for (const int32_t tile_kv : {32, 64, 256}) {
      const BlockMaskShape shape{
          .tile_q = 16, .tile_kv = tile_kv, .num_heads = 2, .num_kv_heads = 2};
      for (uint64_t seed = 0; seed < 6; ++seed)
        run_steps(parse_mask(text, test_symbols()), data.bindings, shape, seed, 120, text);
      if (HasFailure()) return;
    }
}

TEST(Decode, EveryStepOfTheGalleryEqualsAFreshBuild) {
  GalleryData data(kReqs, kMaxLen, 2);
  data.bindings().set("window", int64_t{70});
  data.bindings().set("chunk", int64_t{48});
  data.bindings().set("stride", int64_t{40});
  data.bindings().set("globals", int64_t{5});
  const BlockMaskShape shape{.tile_q = 16, .tile_kv = 32, .num_heads = 2, .num_kv_heads = 1};
  for (const GalleryMask& mask : gallery())
    run_steps(parse_mask(mask.text, gallery_symbols()), data.bindings(), shape, 7, 150, mask.name);
}

// New elements of a table are seen once the table is set again.
TEST(Decode, FollowsTables) {
  std::vector<int32_t> doc(kMaxLen, 0);
  Symbols symbols;
  symbols.add_table("doc", Type::integer, 1);
  Bindings bindings(symbols);
  bindings.set_table("doc", doc.data(), {kMaxLen});
  const Expr expr = parse_mask("q >= k && doc[q] == doc[k]", symbols);
  const BlockMaskShape shape{.tile_q = 16, .tile_kv = 32};
  BlockMaskBuilder builder(expr, bindings, shape,
                           {.max_reqs = 1, .max_tokens = 1, .max_seq_len = kMaxLen});
  Kept kept(builder);
  for (int32_t len = 1; len < kMaxLen; ++len) {
    if (len % 50 == 0) {
      std::fill(doc.begin() + len - 1, doc.end(), len);
      bindings.set_table("doc", doc.data(), {kMaxLen});
    }
    Batch batch;
    batch.add(len, 1);
    const BlockMask mask = builder.build(batch.step(), kept.memory());
    const Capacity need = builder.measure(batch.step());
    BlockMaskBuilder fresh(expr, bindings, shape,
                           {.max_reqs = 1, .max_tokens = 1, .max_seq_len = kMaxLen});
    ASSERT_EQ(lists_of(mask, need), BuiltMask(fresh, batch).lists()) << len;
  }
}

TEST(Decode, AStepDoesNotAllocate) {
  GalleryData data(kReqs, kMaxLen, 2);
  const BlockMaskShape shape{.tile_q = 16, .tile_kv = 32, .num_heads = 2, .num_kv_heads = 1};
  const BlockMaskLimits limits{.max_reqs = kReqs, .max_tokens = 600, .max_seq_len = kMaxLen};
  for (const GalleryMask& mask : gallery()) {
    BlockMaskBuilder builder(parse_mask(mask.text, gallery_symbols()), data.bindings(), shape,
                             limits);
    Kept kept(builder);
    Batch batch;
    for (int32_t r = 0; r < kReqs; ++r) batch.add(100 + r, r == 0 ? 100 : 1);
    const int64_t before = num_allocations();
    builder.build(batch.step(), kept.memory());
    builder.build(batch.step(), kept.memory());
    EXPECT_EQ(num_allocations(), before) << mask.name;
  }
}

// The point of remembering: after the first step of a stretch, nothing is analysed again.
TEST(Decode, AnalysesNothingWithinATile) {
  GalleryData data(1, kMaxLen, 1);
  BlockMaskBuilder builder(parse_mask("q >= k && q - k < 100", gallery_symbols()), data.bindings(),
                           {.tile_q = 16, .tile_kv = 64},
                           {.max_reqs = 1, .max_tokens = 1, .max_seq_len = kMaxLen});
  Kept kept(builder);
  int64_t analysed = 0;
  for (int32_t len = 129; len <= 256; ++len) {
    Batch batch;
    batch.add(len, 1);
    builder.build(batch.step(), kept.memory());
    const bool begins = len % 64 == 1;
    EXPECT_EQ(builder.decider().num_analysed > analysed, begins) << len;
    analysed = builder.decider().num_analysed;
  }
}

}  // namespace
}  // namespace pagoda::mask

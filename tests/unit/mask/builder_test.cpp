// Block masks against the mask asked pair by pair: every tile in its right class, every bit right,
// whatever the expression, the tile sizes and the batch.
#include <gtest/gtest.h>

#include "built_mask.h"
#include "random_expr.h"
#include "src/mask/gallery.h"
#include "src/mask/mask_set.h"
#include "src/mask/parse.h"
#include "src/mask/print.h"

namespace pagoda::mask {
namespace {

// Random batch: padding, prefill, decode, more queries than keys.
Batch random_batch(RandomExpr& random, int32_t max_reqs, int32_t max_len) {
  Batch batch;
  const auto count = static_cast<int32_t>(random.number(0, max_reqs));
  for (int32_t r = 0; r < count; ++r) {
    const auto seq_len =
        static_cast<int32_t>(random.number(0, 4) == 0 ? 0 : random.number(1, max_len));
    int64_t query_len = random.number(0, seq_len);
    if (random.number(0, 2) == 0) query_len = random.number(0, 3);
    if (random.number(0, 9) == 0) query_len = random.number(0, seq_len + 20);
    batch.add(seq_len, static_cast<int32_t>(query_len));
  }
  return batch;
}

// A rank's mask shows, of the keys that it keeps, what their positions in the sequence say.
TEST(Builder, ClassifiesTheKeysOfAShardExactly) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    RandomExpr random(seed);
    RandomBindings data(seed);
    const Expr expr = random.mask(static_cast<int>(random.number(1, 14)));
    BlockMaskShape shape{.tile_q = random.number(0, 1) == 0 ? 4 : 16,
                         .tile_kv = random.number(0, 1) == 0 ? 32 : 64,
                         .num_heads = 2,
                         .num_kv_heads = 1};
    shape.shard.num_ranks = static_cast<int32_t>(random.number(2, 5));
    shape.shard.rank = static_cast<int32_t>(random.number(0, shape.shard.num_ranks - 1));
    shape.shard.interleave = 1 << random.number(0, 5);
    Batch batch;
    for (int r = 0; r < 3; ++r) {
      const auto query_len = static_cast<int32_t>(r == 0 ? 1 : random.number(0, 30));
      batch.add(query_len + static_cast<int32_t>(random.number(0, 300)), query_len);
    }
    BlockMaskBuilder builder(expr, data.bindings, shape,
                             {.max_reqs = 3, .max_tokens = 100, .max_seq_len = 400});
    const BuiltMask built(builder, batch);
    ASSERT_TRUE(built.matches(expr, data.bindings, shape))
        << "seed " << seed << ": " << print(expr, test_symbols());
    ASSERT_TRUE(builder.upper_bound().holds(built.need()));
  }
}

TEST(Builder, ClassifiesEveryTileExactly) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    RandomExpr random(seed);
    const RandomBindings data(seed);
    const Expr expr = random.mask(static_cast<int>(random.number(1, 14)));
    BlockMaskShape shape;
    shape.tile_q = static_cast<int32_t>(random.number(1, 40));
    shape.tile_kv = 32 << random.number(0, 2);
    shape.num_kv_heads = static_cast<int32_t>(random.number(1, 2));
    shape.num_heads = shape.num_kv_heads * static_cast<int32_t>(random.number(1, 3));
    const BlockMaskLimits limits{.max_reqs = 4, .max_tokens = 700, .max_seq_len = 160};
    BlockMaskBuilder builder(expr, data.bindings, shape, limits);
    const Batch batch = random_batch(random, 4, 160);
    BuiltMask built(builder, batch);
    ASSERT_TRUE(builder.upper_bound().holds(built.need()));
    ASSERT_TRUE(built.matches(expr, data.bindings, shape))
        << "seed " << seed << ": " << print(expr, test_symbols());
  }
}

TEST(Builder, ClassifiesTheGalleryExactly) {
  const GalleryData data(3, 700, 4);
  const BlockMaskShape shape{.tile_q = 64, .tile_kv = 64, .num_heads = 4, .num_kv_heads = 2};
  const BlockMaskLimits limits{.max_reqs = 3, .max_tokens = 1000, .max_seq_len = 700};
  Batch batch;
  batch.add(700, 700);
  batch.add(333, 63);
  batch.add(500, 1);
  for (const GalleryMask& mask : gallery()) {
    const Expr expr = parse_mask(mask.text, gallery_symbols());
    BlockMaskBuilder builder(expr, data.bindings(), shape, limits);
    BuiltMask built(builder, batch);
    EXPECT_TRUE(built.matches(expr, data.bindings(), shape)) << mask.name;
    EXPECT_EQ(built.mask().num_heads, std::string(mask.name) == "head-windows" ? 4 : 1);
  }
}

TEST(Builder, SaysHowMuchMemoryAStepNeeds) {
  const GalleryData data(2, 300, 1);
  const Expr expr = parse_mask("q >= k && q - k < 100", gallery_symbols());
  const BlockMaskLimits limits{.max_reqs = 2, .max_tokens = 400, .max_seq_len = 300};
  BlockMaskBuilder builder(expr, data.bindings(), {.tile_q = 32, .tile_kv = 32}, limits);
  Batch batch;
  batch.add(300, 200);
  batch.add(299, 1);
  const Capacity need = builder.measure(batch.step());
  std::vector<uint8_t> bytes(need.bytes() + 64);
  for (int64_t Capacity::*part :
       {&Capacity::reqs, &Capacity::rows, &Capacity::entries, &Capacity::words}) {
    Capacity less = need;
    ASSERT_GT(less.*part, 0);
    --(less.*part);
    try {
      builder.build(batch.step(), {aligned(bytes), less});
      ADD_FAILURE() << "built into too little";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, PAGODA_WORKSPACE_TOO_SMALL);
      EXPECT_NE(
          std::string(failure.what()).find("needs " + std::to_string(need.bytes()) + " bytes"),
          std::string::npos)
          << failure.what();
    }
  }
  EXPECT_NO_THROW(builder.build(batch.step(), {aligned(bytes), need}));
  EXPECT_THROW(builder.build(batch.step(), {}), Failure);
}

// The most tiles that so many tokens make.
TEST(Builder, UpperBoundIsReached) {
  const GalleryData data(5, 64, 1);
  const Expr all = parse_mask("q % 2 == k % 3", gallery_symbols());
  const BlockMaskLimits limits{.max_reqs = 5, .max_tokens = 5 + 3 * 8 + 7, .max_seq_len = 64};
  BlockMaskBuilder builder(all, data.bindings(), {.tile_q = 8, .tile_kv = 32}, limits);
  Batch batch;
  batch.add(64, 1 + 3 * 8 + 7);
  for (int i = 0; i < 4; ++i) batch.add(64, 1);
  const Capacity need = builder.measure(batch.step()), bound = builder.upper_bound();
  EXPECT_EQ(need.rows, bound.rows);
  EXPECT_EQ(need.entries, bound.entries);
  EXPECT_EQ(need.words, bound.words);
}

TEST(Builder, RefusesStepsThatContradictThemselves) {
  const GalleryData data(2, 300, 1);
  const Expr expr = parse_mask("q >= k", gallery_symbols());
  const BlockMaskLimits limits{.max_reqs = 2, .max_tokens = 10, .max_seq_len = 300};
  BlockMaskBuilder builder(expr, data.bindings(), {}, limits);
  const auto status = [&](std::vector<int32_t> starts, std::vector<int32_t> lens) {
    try {
      builder.measure({static_cast<int32_t>(lens.size()), starts.data(), lens.data()});
      return PAGODA_OK;
    } catch (const Failure& failure) {
      return failure.status;
    }
  };
  EXPECT_EQ(status({0, 1, 2}, {5, 5}), PAGODA_OK);
  EXPECT_EQ(status({1, 1, 2}, {5, 5}), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status({0, 2, 1}, {5, 5}), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status({0, 1, 2}, {5, -1}), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status({0, 1, 2}, {5, 301}), PAGODA_OUT_OF_LIMITS);
  EXPECT_EQ(status({0, 1, 11}, {5, 30}), PAGODA_OUT_OF_LIMITS);
  EXPECT_EQ(status({0, 1, 2, 3}, {5, 5, 5}), PAGODA_OUT_OF_LIMITS);
  EXPECT_EQ(builder.measure({0, std::vector<int32_t>{0}.data(), nullptr}).rows, 0);
}

TEST(Builder, RefusesBadShapes) {
  const GalleryData data(1, 64, 1);
  const Expr mask = parse_mask("q >= k", gallery_symbols());
  const BlockMaskLimits limits{.max_reqs = 1, .max_tokens = 1, .max_seq_len = 64};
  for (const BlockMaskShape& shape :
       {BlockMaskShape{.tile_q = 0}, BlockMaskShape{.tile_q = 257}, BlockMaskShape{.tile_kv = 96},
        BlockMaskShape{.tile_kv = 512}, BlockMaskShape{.num_heads = 3, .num_kv_heads = 2},
        BlockMaskShape{.num_kv_heads = 0}})
    EXPECT_THROW(BlockMaskBuilder(mask, data.bindings(), shape, limits), Failure);
  EXPECT_THROW(BlockMaskBuilder(variable(Variable::key), data.bindings(), {}, limits), Failure);
  EXPECT_THROW(BlockMaskBuilder(mask, data.bindings(), {}, {.max_reqs = -1}), Failure);
}

TEST(MaskSet, SharesEqualMasksAndBuildsEachOnce) {
  const GalleryData data(1, 256, 1);
  const BlockMaskLimits limits{.max_reqs = 1, .max_tokens = 256, .max_seq_len = 256};
  MaskSet set(data.bindings(), {.tile_q = 32, .tile_kv = 32}, limits);
  const int causal = set.add(parse_mask("q >= k", gallery_symbols()));
  const int window = set.add(parse_mask("q >= k && q - k < 99", gallery_symbols()));
  EXPECT_EQ(set.add(parse_mask("(q >= k)", gallery_symbols())), causal);
  EXPECT_EQ(set.size(), 2);
  Batch batch;
  batch.add(256, 256);
  const Capacity bound = set.builder(causal).upper_bound();
  std::vector<uint8_t> first(bound.bytes() + 64), second(bound.bytes() + 64);
  set.begin_step(batch.step());
  const BlockMask& a = set.get(causal, {aligned(first), bound});
  set.get(window, {aligned(second), bound});
  const int64_t analysed = set.builder(causal).decider().num_analysed;
  EXPECT_EQ(set.get(causal, {}).tile, a.tile);
  EXPECT_EQ(set.builder(causal).decider().num_analysed, analysed);
  set.begin_step(batch.step());
  EXPECT_THROW(set.get(causal, {}), Failure);
}

}  // namespace
}  // namespace pagoda::mask

// mask.h through its C functions: expressions with names, block masks of a batch in memory of exact
// size, the step that they are handed to, pictures; and every wrong input with its typed error.
#include <pagoda/mask.h>

#include <cmath>

#include "world.h"

namespace pagoda::test {
namespace {

class MaskCapi : public ::testing::Test {
 protected:
  ~MaskCapi() override {
    pagoda_mask_destroy(mask);
    pagoda_expr_destroy(expr);
  }

  pagoda_status create_expr(const char* text, std::vector<pagoda_name> names = {},
                            pagoda_expr_kind kind = PAGODA_EXPR_MASK) {
    Sized<pagoda_expr_options> options;
    options.kind = kind;
    options.text = text;
    options.names = names.data();
    options.num_names = static_cast<int32_t>(names.size());
    return pagoda_expr_create(&options, &expr);
  }

  pagoda_status create_mask() {
    Sized<pagoda_mask_options> options;
    options.tile_q = 2;
    options.tile_kv = 32;
    options.num_heads = World::kHeads;
    options.num_kv_heads = World::kKvHeads;
    options.max_reqs = 2;
    options.max_tokens = 8;
    options.max_seq_len = 64;
    return pagoda_mask_create(expr, &options, &mask);
  }

  pagoda_status build(const Batch& batch) {
    if (const pagoda_status status = pagoda_mask_measure(mask, &batch, &capacity)) return status;
    memory = aligned_bytes(pagoda_mask_bytes(&capacity));
    return pagoda_mask_build(mask, &batch, &capacity, memory.get(), &built);
  }

  static void expect_failure(pagoda_status status, pagoda_status wanted, const char* sentence) {
    EXPECT_EQ(status, wanted);
    EXPECT_NE(std::string(pagoda_last_error()).find(sentence), std::string::npos)
        << pagoda_last_error();
  }

  pagoda_expr* expr = nullptr;
  pagoda_mask* mask = nullptr;
  Sized<pagoda_mask_capacity> capacity;
  Sized<pagoda_block_mask> built;
  AlignedBytes memory;
};

TEST_F(MaskCapi, AWrongTextIsPointedAt) {
  expect_failure(create_expr("q >= k && q - k"), PAGODA_INVALID_ARGUMENT, "column 11");
  expect_failure(create_expr("q >= window"), PAGODA_INVALID_ARGUMENT, "window");
  EXPECT_EQ(expr, nullptr);
  expect_failure(create_expr("q >= k", {{nullptr, PAGODA_NAME_INT, 0}}), PAGODA_INVALID_ARGUMENT,
                 "names[0].name is NULL");
  expect_failure(create_expr("q >= k", {{"w", static_cast<pagoda_name_type>(7), 0}}),
                 PAGODA_INVALID_ARGUMENT, "pagoda_name_type");
  expect_failure(create_expr("q >= k", {}, static_cast<pagoda_expr_kind>(9)),
                 PAGODA_INVALID_ARGUMENT, "pagoda_expr_kind");
  expect_failure(create_expr(nullptr), PAGODA_INVALID_ARGUMENT, "text is NULL");
}

TEST_F(MaskCapi, NamesHoldWhatIsSet) {
  ASSERT_EQ(create_expr("q - k < w && t[k] > x", {{"w", PAGODA_NAME_INT, 0},
                                                  {"x", PAGODA_NAME_FLOAT, 0},
                                                  {"t", PAGODA_NAME_FLOAT, 1}}),
            PAGODA_OK);
  const float table[] = {1, 2, 3};
  const int64_t shape[] = {3};
  EXPECT_EQ(pagoda_expr_set_int(expr, "w", 2), PAGODA_OK);
  EXPECT_EQ(pagoda_expr_set_float(expr, "x", 1.5f), PAGODA_OK);
  EXPECT_EQ(pagoda_expr_set_float_table(expr, "t", table, shape, 1, 0.0f), PAGODA_OK);
  Sized<pagoda_place> place;
  place.query = 2;
  const float wanted[] = {0, 1, 1, 0};  // key 0 is too far, key 3 outside the table
  for (int k = 0; k < 4; ++k) {
    place.key = k;
    float value = -1;
    EXPECT_EQ(pagoda_expr_evaluate(expr, &place, &value), PAGODA_OK);
    EXPECT_EQ(value, wanted[k]) << k;
  }
  expect_failure(pagoda_expr_set_float(expr, "w", 1.0f), PAGODA_INVALID_ARGUMENT, "an integer");
  expect_failure(pagoda_expr_set_int(expr, "v", 1), PAGODA_INVALID_ARGUMENT, "not declared");
  expect_failure(pagoda_expr_set_float_table(expr, "t", table, shape, 4, 0.0f),
                 PAGODA_INVALID_ARGUMENT, "dimensions");
  expect_failure(pagoda_expr_set_float_table(expr, "t", table, nullptr, 1, 0.0f),
                 PAGODA_INVALID_ARGUMENT, "shape is NULL");
}

TEST_F(MaskCapi, AStepUnderCausalAsAMaskIsTheCausalStep) {
  for (const char* backend : {"reference", "cpu"}) {
    World built_in(backend);
    ASSERT_EQ(built_in.run().status, PAGODA_OK);
    World world(backend);
    world.spec.causal = 0;
    world.spec.has_block_mask = 1;
    ASSERT_EQ(create_expr("q >= k"), PAGODA_OK);
    ASSERT_EQ(create_mask(), PAGODA_OK);
    ASSERT_EQ(build(world.batch), PAGODA_OK);
    EXPECT_EQ(built.num_tiles_q, 3);
    EXPECT_EQ(built.num_heads, 1);
    world.batch.block_mask = &built;
    const Result result = world.run();
    EXPECT_EQ(result.status, PAGODA_OK) << result.sentence;
    EXPECT_EQ(world.o, built_in.o);
    EXPECT_EQ(world.l, built_in.l);
    pagoda_mask_destroy(std::exchange(mask, nullptr));
    pagoda_expr_destroy(std::exchange(expr, nullptr));
  }
}

TEST_F(MaskCapi, MemoryIsExactAndItsLackIsNamed) {
  World world("reference");
  ASSERT_EQ(create_expr("q >= k"), PAGODA_OK);
  ASSERT_EQ(create_mask(), PAGODA_OK);
  ASSERT_EQ(build(world.batch), PAGODA_OK);
  const size_t bytes = pagoda_mask_bytes(&capacity);
  --capacity.words;
  expect_failure(pagoda_mask_build(mask, &world.batch, &capacity, memory.get(), &built),
                 PAGODA_WORKSPACE_TOO_SMALL, (std::to_string(bytes) + " bytes").c_str());
  expect_failure(pagoda_mask_build(mask, &world.batch, &capacity, memory.get() + 4, &built),
                 PAGODA_INVALID_ARGUMENT, "aligned to 64");
  Sized<pagoda_mask_capacity> bound;
  EXPECT_EQ(pagoda_mask_upper_bound(mask, &bound), PAGODA_OK);
  EXPECT_GE(pagoda_mask_bytes(&bound), bytes);
  capacity.rows = -1;
  EXPECT_EQ(pagoda_mask_bytes(&capacity), 0u);
}

TEST_F(MaskCapi, AMaskThatDoesNotFitTheStepIsRefused) {
  World world("cpu");
  world.spec.has_block_mask = 1;
  expect_failure(world.run().status, PAGODA_INVALID_ARGUMENT, "batch.block_mask is NULL");
  ASSERT_EQ(create_expr("q >= k"), PAGODA_OK);
  ASSERT_EQ(create_mask(), PAGODA_OK);
  ASSERT_EQ(build(world.batch), PAGODA_OK);
  const auto refused = [&](pagoda_block_mask spoiled, const char* sentence) {
    World other("cpu");
    other.spec.has_block_mask = 1;
    other.batch.block_mask = &spoiled;
    expect_failure(other.run().status, PAGODA_INVALID_ARGUMENT, sentence);
  };
  const auto with = [&](auto change) {
    pagoda_block_mask it = built;
    change(it);
    return it;
  };
  refused(with([](auto& it) { it.tile_kv = 48; }), "tiles of 48 keys");
  refused(with([](auto& it) { it.tile_q = 0; }), "tiles of 0 queries");
  refused(with([](auto& it) { it.tile_q = 3; }), "tile_start gives request 0");
  refused(with([](auto& it) { it.num_reqs = 1; }), "made for 1 requests");
  refused(with([](auto& it) { it.num_heads = 3; }), "has 3 heads");
  refused(with([](auto& it) { it.num_entries = 0; }), "num_entries");
  refused(with([](auto& it) { it.num_words = 0; }), "outside its 0 words");
  refused(with([](auto& it) { it.tile_start = nullptr; }), "no tile_start");
  const int32_t backwards[] = {3, 3, 3, 3};
  refused(with([&](auto& it) { it.tile = backwards, it.num_tiles_q = 9; }), "num_tiles_q is 9");
  std::vector<int32_t> negative(static_cast<size_t>(built.num_entries), -1);
  refused(with([&](auto& it) { it.tile = negative.data(); }), "do not rise");
  World plain("cpu");
  plain.batch.block_mask = &built;
  expect_failure(plain.run().status, PAGODA_INVALID_ARGUMENT, "spec.has_block_mask is 0");
}

TEST_F(MaskCapi, Pictures) {
  ASSERT_EQ(pagoda_expr_from_gallery("window", 1, 64, 4, &expr), PAGODA_OK);
  EXPECT_EQ(pagoda_expr_set_int(expr, "window", 8), PAGODA_OK);
  ASSERT_EQ(create_mask(), PAGODA_OK);
  World world("cpu");
  ASSERT_EQ(build(world.batch), PAGODA_OK);
  Sized<pagoda_picture_options> options;
  const auto drawn = [&] {
    return text_of([&](char* buffer, size_t size) {
      return pagoda_mask_draw(&built, &world.batch, &options, buffer, size);
    });
  };
  EXPECT_EQ(drawn(), "\u2592\u2592\n\u2592\u2592\n");
  options.picture = PAGODA_PICTURE_SUMMARY;
  EXPECT_EQ(drawn().find("2 tiles: 0 full, 2 partial, 0 empty"), 0u) << drawn();
  options.picture = PAGODA_PICTURE_SVG;
  options.title = "a < b";
  EXPECT_NE(drawn().find("<title>a &lt; b</title>"), std::string::npos);
  options.request = 2;
  EXPECT_EQ(drawn(), "");
  expect_failure(PAGODA_INVALID_ARGUMENT, PAGODA_INVALID_ARGUMENT, "options.request is 2");
}

TEST_F(MaskCapi, TheGalleryIsListed) {
  EXPECT_EQ(pagoda_gallery_size(), 15);
  Sized<pagoda_gallery_entry> entry;
  for (int32_t i = 0; i < pagoda_gallery_size(); ++i) {
    ASSERT_EQ(pagoda_gallery_get(i, &entry), PAGODA_OK);
    ASSERT_EQ(pagoda_expr_from_gallery(entry.name, 2, 100, 4, &expr), PAGODA_OK) << entry.name;
    pagoda_expr_destroy(std::exchange(expr, nullptr));
  }
  expect_failure(pagoda_gallery_get(15, &entry), PAGODA_INVALID_ARGUMENT, "no mask 15");
  expect_failure(pagoda_expr_from_gallery("q >= k", 0, 1, 1, &expr), PAGODA_INVALID_ARGUMENT,
                 "at least 1");
}

TEST_F(MaskCapi, NullArguments) {
  float value = 0;
  const Sized<pagoda_place> place;
  const int64_t shape[] = {0};
  constexpr pagoda_status kInvalid = PAGODA_INVALID_ARGUMENT;
  World world("reference");
  EXPECT_EQ(pagoda_expr_create(nullptr, &expr), kInvalid);
  EXPECT_EQ(pagoda_expr_create(nullptr, nullptr), kInvalid);
  EXPECT_EQ(pagoda_expr_from_gallery(nullptr, 1, 1, 1, &expr), kInvalid);
  EXPECT_EQ(pagoda_expr_from_gallery("causal", 1, 1, 1, nullptr), kInvalid);
  EXPECT_EQ(pagoda_expr_set_int(nullptr, "w", 1), kInvalid);
  EXPECT_EQ(pagoda_expr_set_float(nullptr, "w", 1), kInvalid);
  EXPECT_EQ(pagoda_expr_set_int_table(nullptr, "w", nullptr, shape, 1, 0), kInvalid);
  EXPECT_EQ(pagoda_expr_set_float_table(nullptr, "w", nullptr, shape, 1, 0), kInvalid);
  EXPECT_EQ(pagoda_expr_evaluate(nullptr, &place, &value), kInvalid);
  ASSERT_EQ(create_expr("q >= k"), PAGODA_OK);
  EXPECT_EQ(pagoda_expr_set_int(expr, nullptr, 1), kInvalid);
  EXPECT_EQ(pagoda_expr_evaluate(expr, nullptr, &value), kInvalid);
  EXPECT_EQ(pagoda_expr_evaluate(expr, &place, nullptr), kInvalid);
  EXPECT_EQ(pagoda_mask_create(nullptr, nullptr, &mask), kInvalid);
  EXPECT_EQ(pagoda_mask_create(expr, nullptr, &mask), kInvalid);
  ASSERT_EQ(create_mask(), PAGODA_OK);
  EXPECT_EQ(pagoda_mask_measure(nullptr, &world.batch, &capacity), kInvalid);
  EXPECT_EQ(pagoda_mask_measure(mask, nullptr, &capacity), kInvalid);
  EXPECT_EQ(pagoda_mask_measure(mask, &world.batch, nullptr), kInvalid);
  EXPECT_EQ(pagoda_mask_upper_bound(nullptr, &capacity), kInvalid);
  EXPECT_EQ(pagoda_mask_upper_bound(mask, nullptr), kInvalid);
  EXPECT_EQ(pagoda_mask_bytes(nullptr), 0u);
  EXPECT_EQ(pagoda_mask_build(nullptr, &world.batch, &capacity, nullptr, &built), kInvalid);
  EXPECT_EQ(pagoda_mask_build(mask, nullptr, &capacity, nullptr, &built), kInvalid);
  EXPECT_EQ(pagoda_mask_build(mask, &world.batch, nullptr, nullptr, &built), kInvalid);
  EXPECT_EQ(pagoda_mask_build(mask, &world.batch, &capacity, nullptr, nullptr), kInvalid);
  EXPECT_EQ(pagoda_mask_build(mask, &world.batch, &capacity, nullptr, &built),
            PAGODA_WORKSPACE_TOO_SMALL);
  EXPECT_EQ(pagoda_mask_draw(nullptr, &world.batch, nullptr, nullptr, 0), 0u);
  EXPECT_EQ(pagoda_gallery_get(0, nullptr), kInvalid);
}

TEST(MaskAbi, SizesOnLp64) {
  EXPECT_EQ(sizeof(pagoda_block_mask), 80u);
  EXPECT_EQ(sizeof(pagoda_expr_options), 32u);
  EXPECT_EQ(sizeof(pagoda_mask_options), 44u);
  EXPECT_EQ(sizeof(pagoda_mask_capacity), 40u);
  EXPECT_EQ(sizeof(pagoda_place), 56u);
  EXPECT_EQ(sizeof(pagoda_picture_options), 32u);
}

}  // namespace
}  // namespace pagoda::test

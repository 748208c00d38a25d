// The forward pass against formulas in double (random_model.h): every kind of layer that the
// supported families have, however the tokens are cut into steps and pages.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/error.h"
#include "engine/model/decoder.h"
#include "tests/engine/decoder_driver.h"
#include "tests/engine/random_model.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

std::vector<int32_t> random_tokens(int count, int vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; i++)
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
  return tokens;
}

DecoderOptions small(DecoderOptions options) {
  options.num_pages = 64;
  options.max_reqs = 8;
  options.max_tokens = 200;
  options.max_seq_len = 128;
  return options;
}

class Driver : public DecoderDriver {
 public:
  Driver(const std::filesystem::path& folder, const DecoderOptions& options)
      : DecoderDriver(folder, small(options)) {}
};

// The largest difference, as a share of the largest logit.
double worst_error(const Sequence& sequence, const std::vector<std::vector<double>>& expected) {
  double worst = 0;
  for (size_t t = 0; t < sequence.logits.size(); t++) {
    double scale = 0;
    for (double x : expected[t]) scale = std::max(scale, std::abs(x));
    for (size_t i = 0; i < expected[t].size(); i++)
      worst = std::max(worst, std::abs(sequence.logits[t][i] - expected[t][i]) / scale);
  }
  return worst;
}

struct Family {
  const char* name;
  RandomModelSpec spec;
};

void PrintTo(const Family& family, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << family.name;
}

std::vector<Family> families() {
  return {
      {"llama", {.model_type = "llama"}},
      {"llama3_scaling", {.model_type = "llama", .theta = 500000.0, .llama3_factor = 8}},
      {"tied", {.model_type = "llama", .tied_embeddings = true}},
      {"mistral", {.model_type = "mistral", .windows = {10, 10, 10}}},
      {"qwen2", {.model_type = "qwen2", .qkv_bias = true}},
      {"qwen2_some_windows",
       {.model_type = "qwen2", .theta = 1e6, .qkv_bias = true, .windows = {0, 16, 0}}},
      {"qwen3", {.model_type = "qwen3", .head_dim = 16, .qk_norm = true}},
      {"one_head", {.model_type = "llama", .num_heads = 1, .num_kv_heads = 1, .head_dim = 24}},
      {"no_sharing", {.model_type = "llama", .num_heads = 3, .num_kv_heads = 3, .head_dim = 64}},
  };
}

class DecoderFamily : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    folder_ = test_folder(std::string("decoder_") + GetParam().name);
    model_.write(folder_);
  }
  RandomModel model_{GetParam().spec, 11};
  std::filesystem::path folder_;
};

// Sums of a few hundred float terms over three layers: rounding stays below 2e-5 of the largest
// logit, and any wrong formula is far above it.
constexpr double kBound = 2e-5;

TEST_P(DecoderFamily, LogitsEqualTheFormulas) {
  const std::vector<int32_t> tokens = random_tokens(60, GetParam().spec.vocab, 1);
  const auto expected = model_.logits(tokens);
  for (const char* backend : {"reference", "cpu"})
    for (int32_t page_size : {8, 64}) {
      Driver driver(folder_, {.num_threads = 2, .backend = backend, .page_size = page_size});
      Sequence sequence = {.tokens = tokens, .pages = pages_from(1, 128 / page_size)};
      for (int32_t count : {37, 1, 1, 5, 16}) driver.step({&sequence}, {count});
      EXPECT_LT(worst_error(sequence, expected), kBound) << backend << ", pages of " << page_size;
    }
}

// The same bits whether a sequence comes whole, token by token, or among others.
TEST_P(DecoderFamily, LogitsDoNotDependOnStepsOrCompany) {
  const std::vector<int32_t> tokens = random_tokens(50, GetParam().spec.vocab, 2);
  Driver driver(folder_, {.num_threads = 2, .backend = "cpu", .page_size = 8});
  Sequence whole = {.tokens = tokens, .pages = pages_from(1, 16)};
  driver.step({&whole}, {50});
  Sequence single = {.tokens = tokens, .pages = pages_from(20, 16)};
  for (int i = 0; i < 50; i++) driver.step({&single}, {1});
  EXPECT_EQ(single.logits, whole.logits);

  Sequence mixed = {.tokens = tokens, .pages = pages_from(1, 16)};
  Sequence other = {.tokens = random_tokens(90, GetParam().spec.vocab, 3),
                    .pages = pages_from(40, 16)};
  driver.step({&other, &mixed}, {30, 7});
  driver.step({&mixed, &other}, {1, 1});
  driver.step({&mixed, &other}, {42, 59});
  EXPECT_EQ(mixed.logits, whole.logits);
}

TEST_P(DecoderFamily, SixteenBitAttentionStaysNear) {
  const std::vector<int32_t> tokens = random_tokens(40, GetParam().spec.vocab, 4);
  const auto expected = model_.logits(tokens);
  for (const auto& [dtype, bound] : {std::pair{PAGODA_F16, 0.01}, {PAGODA_BF16, 0.08}}) {
    Driver driver(folder_, {.num_threads = 1, .backend = "cpu", .dtype = dtype, .page_size = 16});
    Sequence sequence = {.tokens = tokens, .pages = pages_from(1, 8)};
    driver.step({&sequence}, {40});
    const double error = worst_error(sequence, expected);
    EXPECT_LT(error, bound);
    EXPECT_GT(error, kBound) << "the type makes no difference, so it is not used";
  }
}

INSTANTIATE_TEST_SUITE_P(All, DecoderFamily, testing::ValuesIn(families()),
                         [](const auto& info) { return std::string(info.param.name); });

// The window of a model, and the same model without it under a mask that shows the same.
TEST(Decoder, AWindowAsAnExpressionGivesTheBitsOfTheModelsOwn) {
  const RandomModel own({.model_type = "mistral", .windows = {10, 10, 10}}, 8);
  const RandomModel without({.model_type = "mistral"}, 8);
  const auto own_folder = test_folder("decoder_window");
  const auto bare_folder = test_folder("decoder_no_window");
  own.write(own_folder);
  without.write(bare_folder);
  const std::vector<int32_t> tokens = random_tokens(60, 80, 9);
  const auto logits_of = [&](const std::filesystem::path& folder, const MaskText& mask) {
    Driver driver(folder, {.num_threads = 1, .backend = "cpu", .page_size = 8, .mask = mask});
    Sequence sequence = {.tokens = tokens, .pages = pages_from(1, 16)};
    for (const int count : {33, 1, 1, 7, 1}) driver.step({&sequence}, {count});
    for (int i = 43; i < 60; i++) driver.step({&sequence}, {1});
    return sequence.logits;
  };
  const auto windowed = logits_of(own_folder, {});
  EXPECT_EQ(logits_of(bare_folder, {.text = "q - k < w", .names = {{"w", 10}}}), windowed);
  EXPECT_NE(logits_of(bare_folder, {}), windowed);
}

TEST(Decoder, LayersWithDifferentWindowsHaveGroupsOfTheirOwn) {
  const RandomModel model({.model_type = "qwen2", .qkv_bias = true, .windows = {0, 16, 0}}, 5);
  const auto folder = test_folder("decoder_groups");
  model.write(folder);
  Driver driver(folder, {.num_threads = 1, .page_size = 8});
  ASSERT_EQ(driver.decoder().groups().size(), 2);
  EXPECT_EQ(driver.decoder().groups()[0].layers, (std::vector<int>{0, 2}));
  EXPECT_EQ(driver.decoder().groups()[1].window, 16);
}

TEST(Decoder, WrongInputsAreNamed) {
  const RandomModel model({}, 6);
  const auto folder = test_folder("decoder_wrong");
  model.write(folder);
  const ModelFile file = ModelFile::open(folder);
  EXPECT_THROW(Decoder(file, {.page_size = 16, .num_pages = 4, .max_seq_len = 513}), Error);
  EXPECT_THROW(Decoder(file, {.page_size = 12, .num_pages = 4}), pagoda::Error);
  EXPECT_THROW(Decoder(file, {.backend = "abacus", .page_size = 16, .num_pages = 4}),
               pagoda::Error);

  Driver driver(folder, {.num_threads = 1, .page_size = 16});
  Sequence sequence = {.tokens = {5, 80}, .pages = pages_from(1, 8)};
  EXPECT_THROW(driver.step({&sequence}, {2}), Error);
  Sequence minus = {.tokens = {-1}, .pages = pages_from(1, 8)};
  EXPECT_THROW(driver.step({&minus}, {1}), Error);
}

}  // namespace
}  // namespace pagoda::engine

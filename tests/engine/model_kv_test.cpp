// The runner's choice of what the cache holds: each format near the formulas, layers that opt out,
// scales that are measured, written, read back and refused.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>

#include "engine/error.h"
#include "engine/formats/safetensors_writer.h"
#include "engine/model/kv_scales.h"
#include "tests/engine/decoder_driver.h"
#include "tests/engine/random_model.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

constexpr int kTokens = 60, kVocab = 80;

class KvFormats : public testing::Test {
 protected:
  void SetUp() override {
    model_.write(folder_);
    std::mt19937 random(4);
    for (int i = 0; i < kTokens; i++) tokens_.push_back(static_cast<int32_t>(random() % kVocab));
  }

  DecoderOptions options(KvChoice kv) const {
    return {.num_threads = 1,
            .backend = "cpu",
            .kv = std::move(kv),
            .page_size = 16,
            .num_pages = 64,
            .max_reqs = 2,
            .max_tokens = 100,
            .max_seq_len = 128};
  }

  // Logits of the tokens, read in one step.
  std::vector<std::vector<float>> run(const DecoderOptions& options) const {
    DecoderDriver driver(folder_, options);
    Sequence sequence = {.tokens = tokens_, .pages = pages_from(1, 8)};
    driver.step({&sequence}, {kTokens});
    return sequence.logits;
  }

  // The largest difference, as a share of the largest logit.
  static double distance(const std::vector<std::vector<float>>& a,
                         const std::vector<std::vector<float>>& b) {
    double worst = 0, scale = 0;
    for (size_t t = 0; t < a.size(); t++)
      for (size_t i = 0; i < a[t].size(); i++) {
        worst = std::max(worst, std::fabs(double{a[t][i]} - b[t][i]));
        scale = std::max(scale, std::fabs(double{b[t][i]}));
      }
    return worst / scale;
  }

  // Scales of this model from a run over the same tokens.
  std::filesystem::path calibrated() const {
    const ModelFile file = ModelFile::open(folder_);
    KvStatistics statistics(file.config());
    DecoderOptions measured = options({});
    measured.kv_statistics = &statistics;
    run(measured);
    const auto path = folder_ / "scales.safetensors";
    save_scales(path, statistics.scales());
    return path;
  }

  const RandomModel model_{{.model_type = "qwen2", .qkv_bias = true, .windows = {0, 16, 0}}, 5};
  const std::filesystem::path folder_ = test_folder("kv_formats");
  std::vector<int32_t> tokens_;
};

// A code of 8 bits is off by up to 1/254 of a row's largest element (int8) or 1/16 of itself
// (e4m3); what that makes of logits is measured, with a factor of about 3.
TEST_F(KvFormats, EachIsNearTheUnquantisedCacheAndNotTheSame) {
  const auto same = run(options({}));
  const auto scales = calibrated().string();
  struct {
    pagoda_kv_format format;
    double bound;
  } const cases[] = {{PAGODA_KV_INT8_TOKEN, 0.03},
                     {PAGODA_KV_INT8_KEYS, 0.02},
                     {PAGODA_KV_INT8_CHANNEL_V, 0.03},
                     {PAGODA_KV_FP8_E4M3, 0.15},
                     {PAGODA_KV_FP8_E4M3_TOKEN, 0.15}};
  for (const auto& [format, bound] : cases) {
    const double far = distance(run(options({.format = format, .scales_path = scales})), same);
    EXPECT_LT(far, bound) << format;
    EXPECT_GT(far, 1e-4) << format << " makes no difference, so it is not used";
  }
}

TEST_F(KvFormats, TokenByTokenIsTheSameAsInOneStep) {
  for (pagoda_kv_format format : {PAGODA_KV_INT8_TOKEN, PAGODA_KV_FP8_E4M3_TOKEN}) {
    const DecoderOptions chosen = options({.format = format});
    DecoderDriver driver(folder_, chosen);
    Sequence single = {.tokens = tokens_, .pages = pages_from(20, 8)};
    for (int i = 0; i < kTokens; i++) driver.step({&single}, {1});
    EXPECT_EQ(single.logits, run(chosen));
  }
}

TEST_F(KvFormats, LayersOptOut) {
  const auto same = run(options({}));
  const auto format = PAGODA_KV_INT8_TOKEN;
  EXPECT_EQ(run(options({.format = format, .same_layers = {0, 1, 2}})), same);
  EXPECT_NE(run(options({.format = format, .same_layers = {0, 2}})), same);
  EXPECT_EQ(run(options({.format = format, .same_layers = {0, 2}, .sliding_is_same = true})), same);

  DecoderDriver driver(folder_, options({.format = format, .same_layers = {2}}));
  const std::vector<LayerGroup>& groups = driver.decoder().groups();
  ASSERT_EQ(groups.size(), 3u);  // the window of layer 1, the formats of 0 and 2
  EXPECT_EQ(groups[0].kv_format, format);
  EXPECT_EQ(groups[1].window, 16);
  EXPECT_EQ(groups[2].layers, std::vector<int>{2});
  EXPECT_EQ(groups[2].kv_format, PAGODA_KV_SAME);
}

TEST_F(KvFormats, PagesAreAsLargeAsWhatTheyHold) {
  const ModelFile file = ModelFile::open(folder_);
  const auto bytes = [&](pagoda_kv_format format) {
    const LayerGroup group{.window = 0, .layers = {0}, .kv_format = format};
    return page_bytes(file.config(), group, 16, PAGODA_BF16);
  };
  const int64_t rows = 16 * 2;  // tokens x heads of head_dim 8
  EXPECT_EQ(bytes(PAGODA_KV_SAME), rows * (16 + 16));
  EXPECT_EQ(bytes(PAGODA_KV_FP8_E4M3), rows * (8 + 8));
  EXPECT_EQ(bytes(PAGODA_KV_INT8_TOKEN), rows * (12 + 12));
  EXPECT_EQ(bytes(PAGODA_KV_INT8_CHANNEL_V), rows * (12 + 8));
  EXPECT_EQ(bytes(PAGODA_KV_INT8_KEYS), rows * (12 + 16));
}

TEST_F(KvFormats, ScalesSurviveTheFile) {
  const ModelFile file = ModelFile::open(folder_);
  const std::vector<LayerScales> scales = load_scales(calibrated(), file.config());
  ASSERT_EQ(scales.size(), 3u);
  for (const LayerScales& layer : scales) {
    ASSERT_EQ(layer.value_channel.size(), 16u);
    for (size_t head = 0; head < 2; head++) {  // the largest channel is the head's
      const auto first = layer.value_channel.begin() + static_cast<ptrdiff_t>(head * 8);
      EXPECT_FLOAT_EQ(*std::max_element(first, first + 8) * 127, layer.value_head[head] * 448);
      EXPECT_GT(layer.key_head[head], 1e-6f);
    }
  }
}

TEST_F(KvFormats, StatisticsAreTheLargestSizes) {
  const ModelFile file = ModelFile::open(folder_);
  KvStatistics statistics(file.config());
  std::vector<float> rows(2 * 40, 0.0f);  // two tokens, a stride of 40
  rows[3] = -8.96f;                       // token 0, head 0
  rows[40 + 9] = 4.48f;                   // token 1, head 1
  rows[40 + 16 + 5] = -2.54f;             // a value of token 1, channel 5
  statistics.add(1, rows.data(), rows.data() + 16, 2, 40);
  const LayerScales layer = statistics.scales()[1];
  EXPECT_FLOAT_EQ(layer.key_head[0], 0.02f);
  EXPECT_FLOAT_EQ(layer.key_head[1], 0.01f);
  EXPECT_FLOAT_EQ(layer.value_channel[5], 0.02f);
  EXPECT_FLOAT_EQ(layer.value_channel[6], 1e-6f);
  EXPECT_FLOAT_EQ(statistics.scales()[0].value_head[0], 1e-6f);  // nothing was added there
}

TEST_F(KvFormats, WrongChoicesAreNamed) {
  const auto expect_refused = [&](const KvChoice& kv, ErrorKind kind, const std::string& part) {
    try {
      run(options(kv));
      ADD_FAILURE() << "not refused: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect_refused({.same_layers = {3}}, ErrorKind::kInvalidArgument, "layers 0 to 2");
  expect_refused({.format = PAGODA_KV_INT8_CHANNEL_V}, ErrorKind::kInvalidArgument, "calibrate");
  expect_refused({.scales_path = folder_ / "model.safetensors"}, ErrorKind::kNotFound,
                 "layers.0.key_head_scale");
  const auto wrong = folder_ / "wrong.safetensors";
  SafetensorsWriter short_ones;
  short_ones.add("layers.0.key_head_scale", {1}, {1.0f});
  short_ones.write(wrong);
  expect_refused({.scales_path = wrong}, ErrorKind::kMalformed, "not F32 of this model's heads");
  SafetensorsWriter zeros;
  zeros.add("layers.0.key_head_scale", {2}, {1.0f, 0.0f});
  zeros.write(wrong);
  expect_refused({.scales_path = wrong}, ErrorKind::kMalformed, "holds 0");
}

TEST_F(KvFormats, AFileThatCannotBeWrittenIsAnError) {
  SafetensorsWriter writer;
  writer.add("x", {1}, {1.0f});
  EXPECT_THROW(writer.write(folder_ / "nowhere" / "x.safetensors"), Error);
  EXPECT_THROW(writer.add("y", {2}, {1.0f}), Error);
}

}  // namespace
}  // namespace pagoda::engine

// SmolLM2-135M-Instruct against llama.cpp on the same file (golden/make_smollm2_golden.py).
//
// Both round activations to 8 bits before each product with a quantised weight, in groups of 32;
// llama.cpp also rounds the groups' scales, and adds in another order. That noise moves a logit by
// up to about one, and a difference of two logits by up to two thirds, over these 25 prompts. So a
// step says something only if llama.cpp's margin between its two best tokens is clear of it.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/runner.h"
#include "tests/engine/decoder_driver.h"
#include "tests/engine/test_models.h"

namespace pagoda::engine {
namespace {

constexpr double kNearTie = 0.5;      // margins below are near-ties
constexpr double kLogitBound = 1.25;  // of any of the eight largest logits of a first step
constexpr double kLogitMean = 0.25;   // of their differences

struct Case {
  std::vector<int32_t> prompt, generated;
  std::vector<double> margins;                    // [generated]
  std::vector<std::pair<int32_t, double>> first;  // token and logit, of the first step
};

std::vector<Case> golden_cases() {
  const auto file = nlohmann::json::parse(read_file(golden("smollm2_llamacpp.json")));
  std::vector<Case> cases;
  for (const auto& entry : file.at("cases")) {
    Case& one = cases.emplace_back();
    entry.at("prompt_ids").get_to(one.prompt);
    entry.at("generated_ids").get_to(one.generated);
    entry.at("margins").get_to(one.margins);
    entry.at("first_logits").get_to(one.first);
  }
  return cases;
}

class SmolLm2 : public testing::Test {
 protected:
  void SetUp() override {
    if (smollm2_file().empty()) GTEST_SKIP() << kNoSmolLm2;
  }
};

// Every step of llama.cpp's text is compared, however this engine would have gone on.
TEST_F(SmolLm2, EveryClearStepChoosesTheTokenThatLlamaCppChooses) {
  DecoderDriver driver(
      smollm2_file(),
      {.page_size = 16, .num_pages = 129, .max_reqs = 1, .max_tokens = 2048, .max_seq_len = 2048});
  int clear = 0, steps = 0;
  double worst = 0, sum = 0, worst_margin = 0;
  size_t compared = 0;
  for (const Case& golden : golden_cases()) {
    Sequence sequence = {.tokens = golden.prompt, .pages = pages_from(1, 128)};
    sequence.tokens.insert(sequence.tokens.end(), golden.generated.begin(), golden.generated.end());
    driver.step({&sequence}, {static_cast<int32_t>(sequence.tokens.size()) - 1});
    const auto logits_of = [&](size_t step) -> const std::vector<float>& {
      return sequence.logits[golden.prompt.size() - 1 + step];
    };
    for (const auto& [token, logit] : golden.first) {
      const double difference = std::abs(logits_of(0)[static_cast<size_t>(token)] - logit);
      worst = std::max(worst, difference);
      sum += difference;
      compared++;
    }
    for (size_t step = 0; step < golden.generated.size(); step++, steps++) {
      const std::vector<float>& logits = logits_of(step);
      const auto chosen = std::max_element(logits.begin(), logits.end()) - logits.begin();
      const bool agrees = chosen == golden.generated[step];
      if (!agrees) worst_margin = std::max(worst_margin, golden.margins[step]);
      if (golden.margins[step] < kNearTie) continue;
      clear++;
      EXPECT_TRUE(agrees) << "a prompt of " << golden.prompt.size() << " tokens, step " << step
                          << ", margin " << golden.margins[step];
    }
  }
  std::cout << clear << " of " << steps
            << " steps are clear; largest margin of a step that differs " << worst_margin
            << "; logits differ by up to " << worst << ", on average by "
            << sum / static_cast<double>(compared) << "\n";
  EXPECT_GT(clear, steps / 2);
  EXPECT_LT(worst, kLogitBound);
  EXPECT_LT(sum / static_cast<double>(compared), kLogitMean);
}

// All prompts at once, through scheduler and prefix cache.
TEST_F(SmolLm2, GreedyTextEqualsLlamaCppsUpToTheFirstNearTie) {
  const ModelFile file = ModelFile::open(smollm2_file());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  const std::vector<Case> cases = golden_cases();
  ASSERT_GE(cases.size(), 20);
  Runner runner(file, tokenizer, {.max_reqs = 25, .max_seq_len = 2048});
  for (const Case& golden : cases)
    runner.add(golden.prompt,
               {.max_tokens = static_cast<int32_t>(golden.generated.size()), .ignore_eos = true});
  runner.run();
  std::vector<Generation> done = runner.take_finished();
  std::sort(done.begin(), done.end(), [](auto& a, auto& b) { return a.id < b.id; });
  ASSERT_EQ(done.size(), cases.size());
  size_t compared = 0;
  for (size_t i = 0; i < cases.size(); i++)
    for (size_t step = 0; step < cases[i].generated.size(); step++, compared++) {
      if (cases[i].margins[step] < kNearTie) break;
      ASSERT_EQ(done[i].tokens[step], cases[i].generated[step])
          << "prompt " << i << ", step " << step;
    }
  std::cout << compared << " tokens compared\n";
  EXPECT_GT(compared, cases.size());
}

TEST_F(SmolLm2, ATextEndsAtTheEndToken) {
  const ModelFile file = ModelFile::open(smollm2_file());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  const std::vector<Case> cases = golden_cases();
  const auto ends = [&](const Case& golden) { return tokenizer.is_stop(golden.generated.back()); };
  const Case golden = *std::min_element(cases.begin(), cases.end(), [&](auto& a, auto& b) {
    return std::pair(!ends(a), a.generated.size()) < std::pair(!ends(b), b.generated.size());
  });
  ASSERT_TRUE(ends(golden)) << "no text of llama.cpp ends by itself";
  Runner runner(file, tokenizer, {.max_reqs = 1, .max_seq_len = 200});
  runner.add(golden.prompt, {.max_tokens = 100});
  runner.run();
  const Generation answer = runner.take_finished().at(0);
  EXPECT_EQ(answer.finish, FinishReason::kEndToken);
  EXPECT_EQ(answer.tokens.size() + 1, golden.generated.size());
  EXPECT_EQ(answer.text.find("<|im_end|>"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::engine

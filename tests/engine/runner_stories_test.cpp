// A trained model with a known answer: stories260K tells the same story byte for byte on every
// path, and many requests at once get what each gets alone.
#include <gtest/gtest.h>

#include <map>
#include <pagoda/pagoda.hpp>

#include "engine/error.h"
#include "engine/runner.h"
#include "tests/engine/test_models.h"

namespace pagoda::engine {
namespace {

class Stories : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(stories_model())) return;
    file_ = new ModelFile(ModelFile::open(stories_model()));
    tokenizer_ = new Tokenizer(Tokenizer::from_model(*file_));
    expected_ = new std::string(read_file(stories_folder() / "expected_greedy_n200.txt"));
    expected_->pop_back();  // the newline that the program which made it prints at its end
  }
  static void TearDownTestSuite() {
    delete expected_;
    delete tokenizer_;
    delete file_;
  }
  void SetUp() override {
    if (!file_) GTEST_SKIP() << kNoStories;
  }

  static Generation generate(Runner& runner, const std::vector<int32_t>& prompt,
                             const GenerationOptions& options) {
    std::string streamed;
    runner.on_text = [&](const Generation&, const std::string& text) { streamed += text; };
    runner.add(prompt, options);
    runner.run();
    const std::vector<Generation> done = runner.take_finished();
    EXPECT_EQ(done.size(), 1);
    EXPECT_EQ(streamed, done.at(0).text);
    return done.at(0);
  }

  // What follows the token that begins a text.
  static Generation story(Runner& runner, int32_t num_tokens) {
    return generate(runner, tokenizer_->encode(""),
                    {.max_tokens = num_tokens, .at_text_start = true});
  }

  static ModelFile* file_;
  static Tokenizer* tokenizer_;
  static std::string* expected_;
};
ModelFile* Stories::file_ = nullptr;
Tokenizer* Stories::tokenizer_ = nullptr;
std::string* Stories::expected_ = nullptr;

struct Path {
  const char* backend;
  const char* isa;
};

bool machine_has(const Path& path) {
  ContextOptions options;
  options.backend = path.backend;
  if (*path.isa != 0) options.isa = path.isa;
  try {
    const Context context(options);
    return true;
  } catch (const pagoda::Error&) {
    return false;
  }
}

// Once from nothing, then with its own first half as the prompt, which goes through chunked prefill
// and, where there is a prefix cache, is found there.
void tell(const ModelFile& file, const Tokenizer& tokenizer, const RunnerOptions& options,
          const std::string& expected) {
  Runner runner(file, tokenizer, options);
  runner.add(tokenizer.encode(""), {.max_tokens = 200, .at_text_start = true});
  runner.run();
  const Generation whole = runner.take_finished().at(0);
  ASSERT_EQ(whole.text, expected);
  ASSERT_EQ(whole.tokens.size(), 200);

  std::vector<int32_t> prompt = tokenizer.encode("");
  prompt.insert(prompt.end(), whole.tokens.begin(), whole.tokens.begin() + 120);
  runner.add(prompt, {.max_tokens = 80});
  runner.run();
  const Generation half = runner.take_finished().at(0);
  ASSERT_EQ(half.tokens, std::vector<int32_t>(whole.tokens.begin() + 120, whole.tokens.end()));
  ASSERT_TRUE(expected.ends_with(half.text));
  const int32_t page = options.page_size;
  ASSERT_EQ(half.num_cached, options.prefix_cache ? 120 / page * page : 0);
}

TEST_F(Stories, TheStoryIsTheSameOnEveryPath) {
  for (const Path& path : {Path{"reference", ""},
                           {"cpu", "scalar"},
                           {"cpu", "avx2"},
                           {"cpu", "avx512"},
                           {"cpu", "neon"}}) {
    if (!machine_has(path)) {
      std::cout << "this machine has no " << path.isa << "\n";
      continue;
    }
    for (int32_t page_size : {8, 16, 64})
      for (bool prefix_cache : {true, false})
        for (int32_t chunk : {7, 512})
          for (int threads : {1, 2}) {
            SCOPED_TRACE(testing::Message()
                         << path.backend << " " << path.isa << ", pages of " << page_size
                         << ", prefix cache " << prefix_cache << ", chunks of " << chunk << ", "
                         << threads << " threads");
            tell(*file_, *tokenizer_,
                 {.num_threads = threads,
                  .backend = path.backend,
                  .isa = path.isa,
                  .page_size = page_size,
                  .prefix_cache = prefix_cache,
                  .prefill_chunk = chunk,
                  .max_reqs = 1},
                 *expected_);
            if (HasFatalFailure()) return;
          }
  }
}

// The causal mask as an expression is the causal mask; a short memory tells another story, and the
// same one however its steps are cut.
TEST_F(Stories, MasksOfTheCallersAreObeyed) {
  Runner causal(*file_, *tokenizer_, {.max_reqs = 1, .mask = {.text = "q >= k", .names = {}}});
  EXPECT_EQ(story(causal, 200).text, *expected_);
  const MaskText window = {.text = "q - k < w", .names = {{"w", 20}}};
  Runner forgetful(*file_, *tokenizer_, {.max_reqs = 1, .mask = window});
  const Generation told = story(forgetful, 120);
  EXPECT_NE(told.text, expected_->substr(0, told.text.size()));
  std::vector<int32_t> prompt = tokenizer_->encode("");
  prompt.insert(prompt.end(), told.tokens.begin(), told.tokens.begin() + 60);
  for (const bool prefix_cache : {true, false}) {
    Runner chunked(*file_, *tokenizer_,
                   {.page_size = 8,
                    .prefix_cache = prefix_cache,
                    .prefill_chunk = 7,
                    .max_reqs = 1,
                    .mask = window});
    const Generation rest = generate(chunked, prompt, {.max_tokens = 60});
    EXPECT_EQ(rest.tokens, std::vector(told.tokens.begin() + 60, told.tokens.end()));
  }
}

TEST_F(Stories, SixteenBitCachesTellAStoryToo) {
  for (pagoda_dtype dtype : {PAGODA_F16, PAGODA_BF16}) {
    Runner runner(*file_, *tokenizer_, {.dtype = dtype, .max_reqs = 1});
    const std::string text = story(runner, 60).text;
    EXPECT_EQ(text.substr(0, 40), expected_->substr(0, 40));
  }
}

std::vector<std::string> openings() {
  std::vector<std::string> texts;
  for (const char* who : {"a cat", "a dog", "a boy named Tim", "a girl named Sue"})
    for (const char* what :
         {" who liked to play", " who was very sad. One day", " in the park", ""})
      texts.push_back("Once upon a time, there was " + std::string(who) + what);
  return texts;
}

GenerationOptions nth_options(size_t i, float temperature) {
  return {.max_tokens = static_cast<int32_t>(40 + i * 7 % 60),
          .sampling = {.temperature = temperature,
                       .top_k = 40,
                       .top_p = 0.95f,
                       .repetition_penalty = 1.1f,
                       .seed = i}};
}

TEST_F(Stories, SixteenAtOnceGetWhatEachGetsAlone) {
  const std::vector<std::string> texts = openings();
  for (float temperature : {0.0f, 0.9f}) {
    std::vector<std::vector<int32_t>> alone;
    for (size_t i = 0; i < texts.size(); i++) {
      Runner runner(*file_, *tokenizer_, {.max_reqs = 1});
      alone.push_back(
          generate(runner, tokenizer_->encode(texts[i]), nth_options(i, temperature)).tokens);
    }
    for (bool prefix_cache : {true, false}) {
      Runner runner(*file_, *tokenizer_,
                    {.page_size = 8,
                     .num_pages = 60,
                     .prefix_cache = prefix_cache,
                     .prefill_chunk = 16,
                     .max_reqs = 16});
      std::map<uint64_t, size_t> index;
      for (size_t i = 0; i < texts.size(); i++)
        index[runner.add(tokenizer_->encode(texts[i]), nth_options(i, temperature))] = i;
      runner.run();
      const std::vector<Generation> done = runner.take_finished();
      ASSERT_EQ(done.size(), texts.size());
      for (const Generation& generation : done)
        EXPECT_EQ(generation.tokens, alone[index.at(generation.id)])
            << "request " << index.at(generation.id) << ", " << generation.num_preemptions
            << " preemptions";
      EXPECT_GT(runner.stats().scheduler.num_preemptions, 0) << "the page budget is too generous";
      if (prefix_cache) {
        EXPECT_GT(runner.stats().prefix_hit_tokens, 0);
        EXPECT_GT(runner.stats().max_shared_pages, 0);
      }
      EXPECT_EQ(runner.cache().stats().num_used, 0);
    }
  }
}

TEST_F(Stories, AStopStringEndsTheTextBeforeIt) {
  Runner runner(*file_, *tokenizer_, {.max_reqs = 1});
  const Generation told =
      generate(runner, tokenizer_->encode(""),
               {.max_tokens = 200, .stop = {"zebra", " the park"}, .at_text_start = true});
  EXPECT_EQ(told.finish, FinishReason::kStopString);
  EXPECT_EQ(told.text, expected_->substr(0, expected_->find(" the park")));
}

TEST_F(Stories, LengthAndLimitsAreKept) {
  Runner runner(*file_, *tokenizer_, {.max_reqs = 2, .max_seq_len = 100});
  const Generation one = story(runner, 1);
  EXPECT_EQ(one.tokens.size(), 1);
  EXPECT_EQ(one.finish, FinishReason::kLength);
  EXPECT_EQ(story(runner, 99).tokens.size(), 99);
  EXPECT_THROW(runner.add(tokenizer_->encode(""), {.max_tokens = 100}), Error);
  EXPECT_THROW(runner.add({}, {.max_tokens = 5}), Error);
  EXPECT_THROW(runner.add({512}, {.max_tokens = 5}), Error);
  EXPECT_THROW(runner.add({1}, {.max_tokens = 5, .sampling = {.temperature = -1}}), Error);
  EXPECT_FALSE(runner.step()) << "a refused request left something behind";
}

TEST_F(Stories, LogprobsOfGreedyTokensAreTheLargest) {
  Runner runner(*file_, *tokenizer_, {.max_reqs = 1});
  const Generation told =
      generate(runner, tokenizer_->encode(""), {.max_tokens = 20, .sampling = {.num_logprobs = 2}});
  ASSERT_EQ(told.sampled.size(), 20);
  for (const Sampled& sampled : told.sampled) {
    EXPECT_EQ(sampled.most.at(0).token, sampled.token);
    EXPECT_EQ(sampled.most.at(0).logprob, sampled.logprob);
    EXPECT_LE(sampled.most.at(1).logprob, sampled.logprob);
  }
}

TEST_F(Stories, BackendsAndLimitsThatAreNotThereAreRefused) {
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.backend = "abacus"}), pagoda::Error);
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.isa = "avx1024"}), pagoda::Error);
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.page_size = 12}), pagoda::Error);
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.page_size = 0}), Error);
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.max_seq_len = 513}), Error);
}

}  // namespace
}  // namespace pagoda::engine

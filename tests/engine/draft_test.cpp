// Speculative decoding: guesses change when tokens are computed, never which. With prompt lookup
// and with a draft model, many requests on few pages, greedy and drawn, give what each gives
// without guesses; what was rejected leaves no page and no cached prefix behind.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/draft/ngram.h"
#include "engine/error.h"
#include "engine/runner.h"
#include "tests/engine/test_models.h"

namespace pagoda::engine {
namespace {

using Ids = std::vector<int32_t>;

Ids lookup(const Ids& tokens, int32_t max_suffix, int32_t max_draft) {
  const auto found = ngram_draft(tokens, max_suffix, max_draft);
  return {found.begin(), found.end()};
}

TEST(Ngram, FindsWhatFollowedTheLongestAndThenTheLatest) {
  EXPECT_EQ(lookup({1, 2, 3, 9, 1, 2, 3}, 3, 4), (Ids{9, 1, 2, 3}));
  EXPECT_EQ(lookup({1, 2, 3, 9, 1, 2, 3}, 3, 2), (Ids{9, 1}));
  EXPECT_EQ(lookup({1, 2, 7, 5, 2, 8, 1, 2}, 2, 1), (Ids{7})) << "two before one";
  EXPECT_EQ(lookup({1, 2, 7, 5, 2, 8, 1, 2}, 1, 1), (Ids{8})) << "the latest of one";
  EXPECT_EQ(lookup({4, 4, 4}, 3, 5), (Ids{4})) << "a match may overlap the suffix";
  EXPECT_EQ(lookup({1, 2, 3}, 3, 4), Ids{});
  EXPECT_EQ(lookup({1}, 3, 4), Ids{});
  EXPECT_EQ(lookup({}, 3, 4), Ids{});
  EXPECT_EQ(lookup({1, 1}, 3, 0), Ids{});
}

class Drafts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(stories_model())) return;
    file_ = new ModelFile(ModelFile::open(stories_model()));
    tokenizer_ = new Tokenizer(Tokenizer::from_model(*file_));
  }
  static void TearDownTestSuite() {
    delete tokenizer_;
    delete file_;
  }
  void SetUp() override {
    if (!file_) GTEST_SKIP() << kNoStories;
  }

  static DraftOptions from_text(int32_t max_suffix, int32_t num_tokens) {
    return {.num_tokens = num_tokens, .max_suffix = max_suffix};
  }
  static DraftOptions from_model(int32_t num_tokens) {
    return {.num_tokens = num_tokens, .file = file_, .tokenizer = tokenizer_};
  }

  // Requests of one run by their place in `texts`.
  static std::vector<Generation> generate(Runner& runner, const std::vector<std::string>& texts,
                                          float temperature) {
    std::map<uint64_t, size_t> index;
    for (size_t i = 0; i < texts.size(); i++)
      index[runner.add(tokenizer_->encode(texts[i]),
                       {.max_tokens = static_cast<int32_t>(1 + 23 * i % 60),
                        .sampling = {.temperature = temperature,
                                     .repetition_penalty = i % 3 == 0 ? 1.2f : 1.0f,
                                     .seed = i}})] = i;
    runner.run();
    std::vector<Generation> all(texts.size());
    for (const Generation& done : runner.take_finished()) all[index.at(done.id)] = done;
    return all;
  }

  static ModelFile* file_;
  static Tokenizer* tokenizer_;
};
ModelFile* Drafts::file_ = nullptr;
Tokenizer* Drafts::tokenizer_ = nullptr;

const std::vector<std::string> kTexts{"",
                                      "Once upon a time",
                                      "One day, Tim and Sam",
                                      "Once upon a time",
                                      "The dog",
                                      "Lily",
                                      "Tim and Tim and Tim and",
                                      "Once upon a time, there was a little girl named Lily. She"};

TEST_F(Drafts, TokensAreThoseWithoutThem) {
  for (float temperature : {0.0f, 0.9f}) {
    Runner plain(*file_, *tokenizer_, {.page_size = 8, .max_seq_len = 128});
    const std::vector<Generation> expected = generate(plain, kTexts, temperature);
    for (const DraftOptions& draft :
         {from_text(3, 4), from_text(1, 9), from_model(1), from_model(5)}) {
      Runner runner(*file_, *tokenizer_,
                    {.page_size = 8, .prefill_chunk = 7, .max_seq_len = 128, .draft = draft});
      const std::vector<Generation> found = generate(runner, kTexts, temperature);
      for (size_t i = 0; i < kTexts.size(); i++) {
        EXPECT_EQ(found[i].tokens, expected[i].tokens) << kTexts[i];
        EXPECT_EQ(found[i].text, expected[i].text);
        EXPECT_EQ(found[i].finish, expected[i].finish);
      }
      EXPECT_GT(runner.stats().drafted_tokens, 0);
      EXPECT_GT(runner.stats().accepted_tokens, 0);
    }
  }
}

// Preempted, evicted and resumed requests too.
TEST_F(Drafts, OnTooFewPagesTheyDoNotMatterEither) {
  Runner plain(*file_, *tokenizer_, {.page_size = 8, .max_seq_len = 128});
  const std::vector<Generation> expected = generate(plain, kTexts, 0);
  for (const DraftOptions& draft : {from_text(2, 6), from_model(4)}) {
    Runner runner(
        *file_, *tokenizer_,
        {.page_size = 8, .num_pages = 17, .prefill_chunk = 16, .max_seq_len = 128, .draft = draft});
    const std::vector<Generation> found = generate(runner, kTexts, 0);
    for (size_t i = 0; i < kTexts.size(); i++)
      EXPECT_EQ(found[i].tokens, expected[i].tokens) << kTexts[i];
    EXPECT_GT(runner.stats().scheduler.num_preemptions, 0) << "the page budget is too generous";
    EXPECT_GT(runner.stats().accepted_tokens, 0);
    EXPECT_EQ(runner.cache().stats().num_used, 0);
  }
}

TEST_F(Drafts, TheModelItselfIsAlwaysRightAndTakesFewerSteps) {
  Runner runner(*file_, *tokenizer_, {.max_reqs = 1, .draft = from_model(4)});
  runner.add(tokenizer_->encode(""), {.max_tokens = 101});
  runner.run();
  EXPECT_EQ(runner.take_finished().at(0).tokens.size(), 101);
  const RunnerStats stats = runner.stats();
  EXPECT_EQ(stats.accepted_tokens, stats.drafted_tokens);
  EXPECT_EQ(stats.scheduler.num_steps, 1 + 100 / 5);
}

// Between steps a request holds pages for its known tokens and none for guesses.
TEST_F(Drafts, RejectedTokensKeepNoPage) {
  Runner runner(*file_, *tokenizer_,
                {.page_size = 8, .max_reqs = 1, .max_seq_len = 200, .draft = from_text(1, 60)});
  int32_t num_tokens = 0;
  runner.on_text = [&](const Generation& so_far, const std::string&) {
    num_tokens = so_far.num_prompt + static_cast<int32_t>(so_far.tokens.size());
  };
  runner.add(tokenizer_->encode("Tim and Tim"), {.max_tokens = 120});
  bool was_rejected = false;
  while (runner.step()) {
    const CacheStats pages = runner.cache().stats();
    EXPECT_LE(pages.num_used, (num_tokens + 7) / 8);
    was_rejected |= runner.stats().accepted_tokens < runner.stats().drafted_tokens;
  }
  EXPECT_TRUE(was_rejected);
}

// Every prefix that can be found is one that was generated, and has the right keys.
TEST_F(Drafts, ThePrefixCacheHoldsNoRejectedToken) {
  const RunnerOptions options{.page_size = 8, .max_reqs = 4, .max_seq_len = 400};
  RunnerOptions with_drafts = options;
  with_drafts.draft = from_text(1, 9);
  Runner plain(*file_, *tokenizer_, options), runner(*file_, *tokenizer_, with_drafts);
  const std::vector<Generation> expected = generate(plain, kTexts, 0);
  const std::vector<Generation> found = generate(runner, kTexts, 0);
  EXPECT_LT(runner.stats().accepted_tokens, runner.stats().drafted_tokens);
  for (size_t i = 0; i < kTexts.size(); i++) {
    Ids prompt = tokenizer_->encode(kTexts[i]);
    prompt.insert(prompt.end(), found[i].tokens.begin(), found[i].tokens.end());
    const CacheRequest request(1000, prompt);
    EXPECT_EQ(runner.cache().find(request), plain.cache().find(request));
    for (Runner* r : {&plain, &runner}) r->add(prompt, {.max_tokens = 20});
    plain.run();
    runner.run();
    const Generation a = plain.take_finished().at(0), b = runner.take_finished().at(0);
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.num_cached, b.num_cached);
  }
}

// The sequences of the draft model are corrected where the large model went another way.
TEST_F(Drafts, ADraftModelFollowsWhatWasAccepted) {
  const DecoderOptions options{
      .page_size = 8, .num_pages = 9, .max_reqs = 2, .max_tokens = 16, .max_seq_len = 100};
  DraftModel draft(*file_, *tokenizer_, *tokenizer_, options);
  Request request{
      .id = 7, .tokens = tokenizer_->encode("Once upon a time, there was"), .max_draft = 5};
  for (int round = 0; round < 6; round++) {
    Request other{.id = 100 + static_cast<uint64_t>(round), .tokens = {1, 5, 9}, .max_draft = 2};
    draft.propose({&other, &request});
    Runner runner(*file_, *tokenizer_, {.max_reqs = 1});
    runner.add(request.tokens, {.max_tokens = 5, .ignore_eos = true});
    runner.run();
    EXPECT_EQ(request.draft, runner.take_finished().at(0).tokens) << "round " << round;
    EXPECT_EQ(other.draft.size(), 2u);
    // The large model agrees with `round` of them and then goes on by itself.
    const auto agreed = request.draft.begin() + std::min(round, 5);
    request.tokens.insert(request.tokens.end(), request.draft.begin(), agreed);
    request.tokens.push_back(300 + round);
  }
}

TEST_F(Drafts, WrongOptionsAreRefused) {
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.draft = from_text(0, 4)}), Error);
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.draft = from_text(3, -1)}), Error);
  EXPECT_THROW(Runner(*file_, *tokenizer_, {.draft = from_text(3, 1 << 20)}), Error);
}

// Problems with numbers that their answers repeat, and texts to repeat.
std::vector<std::string> smollm2_prompts(size_t count) {
  std::vector<std::string> prompts;
  std::istringstream problems(read_file(shared_data("eval/gsm8k_test.jsonl")));
  std::istringstream articles(read_file(shared_data("eval/wikitext2_valid.txt")));
  std::string line;
  while (prompts.size() < count && std::getline(problems, line)) {
    prompts.push_back(nlohmann::json::parse(line).at("question"));
    while (std::getline(articles, line) && line.size() < 400) {
    }
    prompts.push_back("Repeat this text word for word: " + line.substr(0, 300));
  }
  prompts.resize(std::min(prompts.size(), count));
  return prompts;
}

void expect_same_tokens(size_t num_prompts, int32_t max_tokens) {
  if (smollm2_file().empty()) GTEST_SKIP() << kNoSmolLm2;
  const std::vector<std::string> prompts = smollm2_prompts(num_prompts);
  if (prompts.size() < num_prompts) GTEST_SKIP() << "the texts of the shared data are not here";
  const ModelFile file = ModelFile::open(smollm2_file());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  std::vector<std::map<uint64_t, Ids>> tokens;
  for (int32_t num_draft : {0, 4}) {
    Runner runner(file, tokenizer,
                  {.max_reqs = 8, .max_seq_len = 1024, .draft = {.num_tokens = num_draft}});
    for (const std::string& prompt : prompts)
      runner.add(
          tokenizer.encode("<|im_start|>user\n" + prompt + "<|im_end|>\n<|im_start|>assistant\n",
                           {.add_special = false, .parse_special = true}),
          {.max_tokens = max_tokens});
    runner.run();
    tokens.emplace_back();
    for (Generation& done : runner.take_finished()) tokens.back()[done.id] = done.tokens;
    const RunnerStats stats = runner.stats();
    if (num_draft == 0) continue;
    EXPECT_GT(stats.accepted_tokens, 0);
    std::cout << num_prompts << " prompts, " << stats.generated_tokens
              << " tokens: " << stats.drafted_tokens << " drafted, " << stats.accepted_tokens
              << " accepted, " << stats.scheduler.num_steps << " steps\n";
  }
  EXPECT_EQ(tokens[0].size(), num_prompts);
  EXPECT_EQ(tokens[1], tokens[0]);
}

TEST(DraftsOfSmolLm2, SixPrompts) {
  expect_same_tokens(6, 24);
}

// Belongs to the long tests alone: the filters are in runner_tests.cmake.
TEST(DraftsOfSmolLm2, FiftyPrompts) {
  expect_same_tokens(50, 48);
}

}  // namespace
}  // namespace pagoda::engine

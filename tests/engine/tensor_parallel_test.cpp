// Heads divided among ranks that are threads: every rank says what one alone says, token for token,
// down to one key head per rank, and a model that the ranks do not divide is refused.
#include <gtest/gtest.h>
#include <pagoda/comm.h>

#include <exception>
#include <memory>
#include <thread>

#include "engine/error.h"
#include "engine/runner.h"
#include "tests/engine/test_models.h"

namespace pagoda::engine {
namespace {

std::vector<TensorShare> threads_of(int32_t num_ranks) {
  std::vector<pagoda_comm> comms(static_cast<size_t>(num_ranks));
  check(pagoda_comm_create_local(num_ranks, 60000, comms.data()));
  std::vector<TensorShare> shares;
  for (const pagoda_comm& comm : comms)
    shares.push_back({.comm = std::shared_ptr<const pagoda_comm>(
                          new pagoda_comm(comm), [](const pagoda_comm* it) {
                            auto* own = const_cast<pagoda_comm*>(it);
                            pagoda_comm_destroy(own);
                            delete own;
                          })});
  return shares;
}

using Tokens = std::vector<std::vector<int32_t>>;  // by request

Tokens generate(const ModelFile& file, const Tokenizer& tokenizer,
                const std::vector<std::string>& prompts, int32_t max_tokens,
                const RunnerOptions& options) {
  Runner runner(file, tokenizer, options);
  for (const std::string& prompt : prompts)
    runner.add(tokenizer.encode(prompt), {.max_tokens = max_tokens});
  runner.run();
  Tokens tokens(prompts.size());
  for (const Generation& done : runner.take_finished()) tokens[done.id - 1] = done.tokens;
  return tokens;
}

// What each rank generates; rethrows what a rank throws.
std::vector<Tokens> generate_on_ranks(const ModelFile& file, const Tokenizer& tokenizer,
                                      const std::vector<std::string>& prompts, int32_t max_tokens,
                                      int32_t num_ranks, RunnerOptions options) {
  const std::vector<TensorShare> shares = threads_of(num_ranks);
  std::vector<Tokens> tokens(shares.size());
  std::vector<std::exception_ptr> failures(shares.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < shares.size(); rank++)
    threads.emplace_back([&, rank, options]() mutable {
      try {
        options.tensor_parallel = shares[rank];
        tokens[rank] = generate(file, tokenizer, prompts, max_tokens, options);
      } catch (...) {
        failures[rank] = std::current_exception();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  return tokens;
}

const std::vector<std::string> kTexts{"", "Once upon a time", "The dog and the cat",
                                      "One day, Tim"};

class TensorParallel : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(stories_model())) GTEST_SKIP() << kNoStories;
  }
};

TEST_F(TensorParallel, EveryRankSaysWhatOneAloneSays) {
  const ModelFile file = ModelFile::open(stories_model());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  const RunnerOptions options{.num_threads = 1, .page_size = 8, .prefill_chunk = 5};
  const Tokens alone = generate(file, tokenizer, kTexts, 100, options);
  for (int32_t num_ranks : {1, 2, 4})
    for (const Tokens& rank : generate_on_ranks(file, tokenizer, kTexts, 100, num_ranks, options))
      EXPECT_EQ(rank, alone) << num_ranks << " ranks";
}

TEST_F(TensorParallel, WithGuessesToo) {
  const ModelFile file = ModelFile::open(stories_model());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  RunnerOptions options{.num_threads = 1, .page_size = 8};
  const Tokens alone = generate(file, tokenizer, kTexts, 60, options);
  options.draft = {.num_tokens = 3};
  for (const Tokens& rank : generate_on_ranks(file, tokenizer, kTexts, 60, 2, options))
    EXPECT_EQ(rank, alone);
}

TEST_F(TensorParallel, AModelThatTheRanksDoNotDivideIsRefused) {
  const ModelFile file = ModelFile::open(stories_model());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  EXPECT_THROW(generate_on_ranks(file, tokenizer, kTexts, 5, 3, {.num_threads = 1}), Error);
  EXPECT_THROW(generate_on_ranks(file, tokenizer, kTexts, 5, 8, {.num_threads = 1}), Error);
}

TEST_F(TensorParallel, PartsCoverTheWholeOnce) {
  const std::vector<TensorShare> shares = threads_of(5);
  int64_t end = 0;
  for (const TensorShare& share : shares) {
    EXPECT_EQ(part_of(172, share).begin, end);
    end = part_of(172, share).end;
  }
  EXPECT_EQ(end, 172);
}

// SmolLM2 has three key heads: one on each of three ranks.
TEST(TensorParallelOfSmolLm2, OneKeyHeadOnEachRank) {
  if (smollm2_file().empty()) GTEST_SKIP() << kNoSmolLm2;
  const ModelFile file = ModelFile::open(smollm2_file());
  const Tokenizer tokenizer = Tokenizer::from_model(file);
  const std::vector<std::string> prompts{"The capital of France is", "Water boils at"};
  const RunnerOptions options{.num_threads = 1, .max_reqs = 2, .max_seq_len = 128};
  const Tokens alone = generate(file, tokenizer, prompts, 12, options);
  for (const Tokens& rank : generate_on_ranks(file, tokenizer, prompts, 12, 3, options))
    EXPECT_EQ(rank, alone);
}

}  // namespace
}  // namespace pagoda::engine

// The host's part of steps on a device, which runs everywhere: the padded sizes and arrays of a
// step, the rules by which tokens are drawn there, and the refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "engine/cuda/sampling_rules.h"
#include "engine/cuda/step_shape.h"
#include "engine/error.h"
#include "tests/engine/random_model.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

using cuda::DrawParams;
using cuda::StepLayout;
using cuda::StepShape;

TEST(StepShape, PaddingIsAtMostAnEighthAndSettles) {
  EXPECT_EQ(cuda::padded(0), 0);
  int sizes = 0;
  for (int32_t n = 1; n <= 4096; n++) {
    const int32_t size = cuda::padded(n);
    ASSERT_GE(size, n);
    ASSERT_LE(size, n + n / 8);
    ASSERT_EQ(cuda::padded(size), size) << "a padded size is its own";
    sizes += size == n;
  }
  EXPECT_LE(sizes, 84) << "graphs are kept for each of them";
}

// Two requests: three tokens of a sequence of eight, and one of a sequence of 21; tokens are drawn
// behind the last two rows.
struct Step {
  std::vector<int32_t> tokens = {5, 6, 7, 9}, starts = {0, 3, 4}, seq_lens = {8, 21};
  std::vector<int32_t> rows = {2, 3}, table = {4, 5, 0, 6, 7, 8};
  std::vector<int64_t> slots = {37, 38, 39, 68};
  std::vector<StepBatch::Group> groups = std::vector<StepBatch::Group>(
      2, {.page_table = table.data(), .page_table_stride = 3, .slot_mapping = slots.data()});
  SamplingOptions greedy, drawn = {.temperature = 0.5f, .top_k = 3, .seed = 7};
  std::vector<Draw> draws = {{.tokens = tokens, .guesses = {}, .counter = 0, .options = &greedy},
                             {.tokens = tokens, .guesses = {}, .counter = 4, .options = &drawn}};

  StepBatch batch() const { return {tokens, starts, seq_lens, groups, rows}; }
};

TEST(StepShape, ShapesStayWithinTheLimits) {
  const Step step;
  const StepShape shape =
      cuda::padded_shape(step.batch(), {.max_reqs = 2, .max_tokens = 4, .max_seq_len = 32});
  EXPECT_EQ(shape, (StepShape{.num_reqs = 2, .num_tokens = 4, .max_query_len = 4, .num_draws = 2}));
}

TEST(StepShape, ArraysHoldTheStepAndHarmlessPadding) {
  const Step step;
  const StepShape shape = {.num_reqs = 3, .num_tokens = 6, .max_query_len = 4, .num_draws = 3};
  const StepLayout layout(shape, 2, 4);
  std::vector<int64_t> memory(static_cast<size_t>(layout.size) / 8 + 1, 0x7777777777777777);
  auto* const bytes = reinterpret_cast<std::byte*>(memory.data());
  cuda::write_step(shape, layout, step.batch(), step.draws, bytes);
  const auto read = [&]<class T>(T, int64_t at, size_t count) {
    std::vector<T> values(count);
    std::memcpy(values.data(), bytes + at, count * sizeof(T));
    return values;
  };
  using Ints = std::vector<int32_t>;
  EXPECT_EQ(read(int32_t{}, layout.tokens, 6), (Ints{5, 6, 7, 9, 0, 0}));
  EXPECT_EQ(read(int32_t{}, layout.positions, 6), (Ints{5, 6, 7, 20, 0, 0}));
  EXPECT_EQ(read(int32_t{}, layout.query_start_loc, 4), (Ints{0, 3, 4, 4}));
  EXPECT_EQ(read(int32_t{}, layout.seq_lens, 3), (Ints{8, 21, 0}));
  EXPECT_EQ(read(int32_t{}, layout.draw_rows, 3), (Ints{2, 3, 0}));
  for (int64_t group : {0, 1}) {
    EXPECT_EQ(read(int64_t{}, layout.slots(group), 6),
              (std::vector<int64_t>{37, 38, 39, 68, -1, -1}));
    EXPECT_EQ(read(int32_t{}, layout.page_table(group), 12),
              (Ints{4, 5, 0, 0, 6, 7, 8, 0, 0, 0, 0, 0}));
  }
  const auto draws = read(DrawParams{}, layout.draws, 3);
  EXPECT_EQ(draws[0].temperature, 0);
  EXPECT_EQ(draws[1].temperature, 0.5f);
  EXPECT_EQ(draws[1].top_k, 3);
  EXPECT_EQ(draws[1].seed, 7u);
  EXPECT_EQ(draws[1].counter, 4u);
  EXPECT_EQ(draws[2].temperature, 0) << "padding is greedy";
}

TEST(StepShape, ArraysDoNotOverlap) {
  const StepShape shape = {.num_reqs = 5, .num_tokens = 7, .max_query_len = 2, .num_draws = 5};
  const StepLayout layout(shape, 3, 9);
  const std::vector<int64_t> ends = {
      layout.tokens + 28,          layout.positions + 28,
      layout.query_start_loc + 24, layout.seq_lens + 20,
      layout.draw_rows + 20,       layout.draws + 5 * int64_t{sizeof(DrawParams)},
      layout.slots(0) + 56,        layout.slots(1) + 56,
      layout.slots(2) + 56,        layout.page_table(0) + 180,
      layout.page_table(1) + 180,  layout.page_table(2) + 180};
  const std::vector<int64_t> begins = {
      layout.positions,     layout.query_start_loc, layout.seq_lens,      layout.draw_rows,
      layout.draws,         layout.slots(0),        layout.slots(1),      layout.slots(2),
      layout.page_table(0), layout.page_table(1),   layout.page_table(2), layout.size};
  for (size_t i = 0; i < ends.size(); i++) {
    EXPECT_LE(ends[i], begins[i]) << i;
    EXPECT_EQ(begins[i] % 16, 0) << i;
  }
}

TEST(StepShape, SeenTokensAreBitsOfTheVocabulary) {
  const std::vector<int32_t> tokens = {0, 33, 33, 69, 70, 500}, guesses = {31};
  std::vector<uint32_t> bits(3, 0xffffffff);
  cuda::write_seen({.tokens = tokens, .guesses = guesses}, 70, bits);
  EXPECT_EQ(bits, (std::vector<uint32_t>{0x80000001, 0x2, 0x20}));
}

// The rules, carried out by sorting. The device carries them out by counting.
int32_t draw_by_rules(const std::vector<float>& logits, const std::vector<uint8_t>& seen,
                      const DrawParams& draw) {
  struct Candidate {
    uint64_t key, weight;
  };
  std::vector<float> values;
  for (size_t i = 0; i < logits.size(); i++) {
    float value = std::isnan(logits[i]) ? -INFINITY : logits[i];
    if (seen[i] != 0) value = cuda::penalised(value, draw.repetition_penalty);
    values.push_back(value);
  }
  const float top = *std::max_element(values.begin(), values.end());
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < values.size(); i++)
    candidates.push_back(
        {cuda::key_of(top, values[i], static_cast<int32_t>(i)),
         cuda::fixed_weight(std::exp((values[i] - top) / std::max(draw.temperature, 1e-9f)))});
  const auto vocab_size = static_cast<int32_t>(logits.size());
  std::sort(candidates.begin(), candidates.end(),
            [](const auto& a, const auto& b) { return a.key < b.key; });
  if (draw.temperature == 0) return cuda::token_of(candidates.front().key);
  const auto total = [&] {
    uint64_t sum = 0;
    for (const Candidate& candidate : candidates) sum += candidate.weight;
    return sum;
  };
  const auto first_beyond = [&](uint64_t target) {
    size_t i = 0;
    for (uint64_t sum = candidates[0].weight; sum <= target; sum += candidates[i].weight) i++;
    return i;
  };
  if (draw.top_k > 0 && draw.top_k < vocab_size)
    candidates.resize(cuda::top_k_target(draw.top_k) + 1);
  if (draw.top_p < 1) candidates.resize(first_beyond(cuda::top_p_target(draw.top_p, total())) + 1);
  const uint64_t least = cuda::fixed_weight(draw.min_p);
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < least; });
  if (!cuda::draws_by_probability(draw, vocab_size))
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
      return cuda::token_of(a.key) < cuda::token_of(b.key);
    });
  return cuda::token_of(candidates[first_beyond(cuda::draw_target(draw, total()))].key);
}

// Drawn by the sampler of the host and by the rules, with the same seeds and counters.
void expect_same_draws(const SamplingOptions& options, int vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  Sampler sampler(vocab);
  for (uint64_t counter = 0; counter < 200; counter++) {
    std::vector<float> logits;
    std::vector<uint8_t> seen(static_cast<size_t>(vocab));
    std::vector<int32_t> seen_tokens;
    for (int i = 0; i < vocab; i++) logits.push_back(normal(random));
    logits[random() % static_cast<uint32_t>(vocab)] = NAN;
    logits[1] = logits[0];
    for (int i = 0; i < 20; i++) seen_tokens.push_back(static_cast<int32_t>(random() % vocab));
    if (options.repetition_penalty != 1)
      for (int32_t token : seen_tokens) seen[static_cast<size_t>(token)] = 1;
    const DrawParams draw = {.temperature = options.temperature,
                             .top_k = options.top_k,
                             .top_p = options.top_p,
                             .min_p = options.min_p,
                             .repetition_penalty = options.repetition_penalty,
                             .seed = options.seed,
                             .counter = counter};
    ASSERT_EQ(draw_by_rules(logits, seen, draw),
              sampler.sample(logits, seen_tokens, counter, options).token)
        << "counter " << counter;
  }
}

TEST(SamplingRules, DrawWhatTheSamplerDraws) {
  const std::vector<SamplingOptions> all = {
      {},
      {.repetition_penalty = 1.3f},
      {.temperature = 1},
      {.temperature = 0.7f, .top_k = 1},
      {.temperature = 0.7f, .top_k = 40},
      {.temperature = 1.5f, .top_p = 0.9f},
      {.temperature = 0.8f, .top_p = 0.01f},
      {.temperature = 1, .min_p = 0.05f},
      {.temperature = 20, .top_k = 500, .top_p = 0.95f, .min_p = 0.2f, .repetition_penalty = 1.1f},
      {.temperature = 0.6f, .top_k = 100000, .repetition_penalty = 0.8f}};
  uint32_t seed = 1;
  for (SamplingOptions options : all)
    for (int vocab : {32, 3000}) {
      options.seed = seed++;
      SCOPED_TRACE(testing::Message() << "temperature " << options.temperature << ", vocabulary of "
                                      << vocab << ", seed " << options.seed);
      expect_same_draws(options, vocab, seed);
    }
}

TEST(SamplingRules, KeysAreInTheOrderOfProbability) {
  EXPECT_LT(cuda::key_of(5, 5, 7), cuda::key_of(5, 5, 8)) << "ties go to the lower id";
  EXPECT_LT(cuda::key_of(5, 5, 8), cuda::key_of(5, std::nextafter(5.0f, 0.0f), 0));
  EXPECT_LT(cuda::key_of(5, -1e4f, 9), cuda::key_of(5, -2e4f, 0));
  EXPECT_LT(cuda::key_of(5, -2e4f, 9), cuda::key_of(5, -INFINITY, 0));
  EXPECT_EQ(cuda::token_of(cuda::key_of(5, -INFINITY, (1 << 24) - 1)), (1 << 24) - 1);
}

TEST(SamplingRules, TargetsLieBelowTheirTotals) {
  const uint64_t total = uint64_t{3} << 40;
  for (float top_p : {1e-20f, 0.5f, 0.99999994f})
    EXPECT_LT(cuda::top_p_target(top_p, total), total);
  EXPECT_EQ(cuda::top_p_target(1e-20f, total), 0u);
  for (uint64_t counter = 0; counter < 1000; counter++)
    EXPECT_LT(cuda::draw_target({.seed = 3, .counter = counter}, 1), 1u);
}

// Where there is a device, what it does not serve is refused all the same.
TEST(CudaDevice, RefusesWithARemedy) {
  const auto folder = test_folder("cuda_refusal");
  RandomModel({.head_dim = 8}, 3).write(folder);
  const ModelFile file = ModelFile::open(folder);
  try {
    make_executor(Device::kCuda, file, {.num_pages = 9, .max_seq_len = 64}, 80);
    FAIL() << "a cache of f32 on a CUDA device";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    const std::string sentence = error.what();
    EXPECT_TRUE(sentence.find("device cpu") != std::string::npos ||
                sentence.find("--dtype bf16") != std::string::npos)
        << sentence;
  }
}

}  // namespace
}  // namespace pagoda::engine

// Sampling: the generator against its published vectors, distributions against their formulas,
// and the edges of every option.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "engine/error.h"
#include "engine/sample/random.h"
#include "engine/sample/sampler.h"
#include "engine/sample/stop_strings.h"

namespace pagoda::engine {
namespace {

// Known answers distributed with the paper's code.
TEST(Random, PhiloxGivesThePublishedAnswers) {
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, UniformIsEvenAndItsStreamsDiffer) {
  double sum = 0;
  int equal = 0;
  for (uint64_t i = 0; i < 100000; i++) {
    const double x = uniform(42, i);
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    equal += x == uniform(43, i);
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);  // five standard deviations
  EXPECT_EQ(equal, 0);
}

std::vector<int> histogram(const std::vector<float>& logits, const SamplingOptions& options,
                           int draws, const std::vector<int32_t>& seen = {}) {
  Sampler sampler(static_cast<int32_t>(logits.size()));
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; i++)
    counts[static_cast<size_t>(
        sampler.sample(logits, seen, static_cast<uint64_t>(i), options).token)]++;
  return counts;
}

// Pearson's statistic of counts against probabilities; entries of probability 0 must be 0.
double chi_square(const std::vector<int>& counts, const std::vector<double>& probabilities) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < counts.size(); i++) {
    const double expected = draws * probabilities[i];
    if (expected == 0)
      EXPECT_EQ(counts[i], 0) << "token " << i;
    else
      sum += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return sum;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature,
                            const std::vector<size_t>& kept) {
  std::vector<double> p(logits.size());
  double sum = 0;
  for (size_t i : kept) sum += p[i] = std::exp(logits[i] / temperature);
  for (double& x : p) x /= sum;
  return p;
}

// 16.27 is exceeded by chance once in a thousand at 3 degrees of freedom; seeds are fixed.
constexpr int kDraws = 40000;
constexpr double kLimit3 = 16.27, kLimit2 = 13.82, kLimit1 = 10.83;
const std::vector<float> kLogits = {1.0f, 2.0f, -0.5f, 0.25f};

TEST(Sampler, TemperatureGivesTheSoftmax) {
  for (float t : {0.5f, 1.0f, 3.0f})
    EXPECT_LT(chi_square(histogram(kLogits, {.temperature = t, .seed = 5}, kDraws),
                         softmax(kLogits, t, {0, 1, 2, 3})),
              kLimit3)
        << t;
}

TEST(Sampler, TopKKeepsTheMostProbable) {
  EXPECT_LT(chi_square(histogram(kLogits, {.temperature = 1, .top_k = 2, .seed = 6}, kDraws),
                       softmax(kLogits, 1, {0, 1})),
            kLimit1);
  EXPECT_EQ(histogram(kLogits, {.temperature = 1, .top_k = 1}, 100)[1], 100);
  EXPECT_LT(chi_square(histogram(kLogits, {.temperature = 1, .top_k = 99, .seed = 7}, kDraws),
                       softmax(kLogits, 1, {0, 1, 2, 3})),
            kLimit3);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  // Probabilities 0.62, 0.23, 0.11, 0.05 in the order 1, 0, 3, 2.
  const std::vector<double> p = softmax(kLogits, 1, {0, 1, 2, 3});
  const auto run = [&](double top_p) {
    return histogram(kLogits, {.temperature = 1, .top_p = static_cast<float>(top_p), .seed = 8},
                     kDraws);
  };
  EXPECT_EQ(run(p[1] * 0.99)[1], kDraws);
  EXPECT_LT(chi_square(run(p[1] * 1.01), softmax(kLogits, 1, {0, 1})), kLimit1);
  EXPECT_LT(chi_square(run((p[1] + p[0]) * 1.01), softmax(kLogits, 1, {0, 1, 3})), kLimit2);
  EXPECT_LT(chi_square(run(0.9999), softmax(kLogits, 1, {0, 1, 2, 3})), kLimit3);
}

TEST(Sampler, MinPKeepsAShareOfTheLargest) {
  const double ratio = std::exp(1.0f - 2.0f);  // of token 0 to token 1
  const auto run = [&](double min_p) {
    return histogram(kLogits, {.temperature = 1, .min_p = static_cast<float>(min_p), .seed = 9},
                     kDraws);
  };
  EXPECT_EQ(run(ratio * 1.01)[1], kDraws);
  EXPECT_LT(chi_square(run(ratio * 0.99), softmax(kLogits, 1, {0, 1})), kLimit1);
  EXPECT_EQ(run(1.0)[1], kDraws);
}

TEST(Sampler, ALargeVocabularyIsCutAsASmallOne) {
  // 5000 improbable tokens around four probable ones: the shortcut of top-p must not change what
  // is kept.
  std::vector<float> logits(5004, -20.0f);
  const std::vector<size_t> places = {17, 1200, 3000, 5001};
  for (size_t i = 0; i < 4; i++) logits[places[i]] = kLogits[i];
  const std::vector<int> counts =
      histogram(logits, {.temperature = 1, .top_p = 0.9f, .seed = 10}, kDraws / 10);
  EXPECT_EQ(counts[places[0]] + counts[places[1]] + counts[places[3]], kDraws / 10);
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  EXPECT_EQ(histogram({1, 3, 3, 2}, {}, 10)[1], 10);
  EXPECT_EQ(histogram({1, 3, 3, 2}, {.temperature = 1, .top_k = 1}, 10)[1], 10);
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  EXPECT_EQ(histogram(kLogits, {.temperature = 1e-6f}, 1000)[1], 1000);
}

TEST(Sampler, RepetitionPenaltyMovesSeenTokensOnceEach) {
  // 2 / 4 falls below 1; -0.5 * 4 falls too; seen twice counts once.
  EXPECT_EQ(histogram(kLogits, {.repetition_penalty = 4}, 1, {1, 1, 1})[0], 1);
  const std::vector<float> negative = {-1.0f, -1.5f};
  EXPECT_EQ(histogram(negative, {.repetition_penalty = 2}, 1, {0})[1], 1);
  EXPECT_EQ(histogram(negative, {.repetition_penalty = 1.4f}, 1, {0})[0], 1);
  Sampler sampler(2);
  EXPECT_EQ(sampler.sample(negative, std::vector<int32_t>{0}, 0, {.repetition_penalty = 2}).token,
            1);
  EXPECT_EQ(sampler.sample(negative, {}, 0, {.repetition_penalty = 2}).token, 0);
}

TEST(Sampler, SeenTokensBeyondTheVocabularyHaveNoEffect) {
  EXPECT_EQ(histogram(kLogits, {.repetition_penalty = 4}, 1, {4, 1, 1000000})[0], 1);
  EXPECT_EQ(histogram(kLogits, {.repetition_penalty = 4}, 1, {4, 1000000})[1], 1);
}

TEST(Sampler, NanAndMinusInfinityAreNeverDrawn) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<int> counts = histogram({kNan, 0, -kInf, 0, kNan}, {.temperature = 1}, 2000);
  EXPECT_EQ(counts[1] + counts[3], 2000);
  EXPECT_GT(counts[1], 800);
  EXPECT_THROW(histogram({kNan, -kInf}, {}, 1), Error);
  EXPECT_THROW(histogram({0, kInf}, {}, 1), Error);
}

TEST(Sampler, ADrawIsAFunctionOfSeedAndCounter) {
  Sampler sampler(4), other(4);
  const SamplingOptions options = {.temperature = 2, .seed = 11};
  std::vector<int32_t> forwards, backwards;
  for (uint64_t i = 0; i < 50; i++)
    forwards.push_back(sampler.sample(kLogits, {}, i, options).token);
  for (uint64_t i = 50; i-- > 0;) backwards.push_back(other.sample(kLogits, {}, i, options).token);
  std::reverse(backwards.begin(), backwards.end());
  EXPECT_EQ(forwards, backwards);
}

TEST(Sampler, LogprobsAreOfTheModelsOwnDistribution) {
  Sampler sampler(4);
  const Sampled sampled =
      sampler.sample(kLogits, std::vector<int32_t>{1}, 0,
                     {.temperature = 3, .top_k = 1, .repetition_penalty = 9, .num_logprobs = 3});
  const std::vector<double> p = softmax(kLogits, 1, {0, 1, 2, 3});
  EXPECT_NEAR(sampled.logprob, std::log(p[static_cast<size_t>(sampled.token)]), 1e-6);
  ASSERT_EQ(sampled.most.size(), 3);
  for (const auto& [i, token] : std::map<size_t, int32_t>{{0, 1}, {1, 0}, {2, 3}}) {
    EXPECT_EQ(sampled.most[i].token, token);
    EXPECT_NEAR(sampled.most[i].logprob, std::log(p[static_cast<size_t>(token)]), 1e-6);
  }
  EXPECT_TRUE(sampler.sample(kLogits, {}, 0, {.num_logprobs = 0}).most.empty());
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  const auto sentence = [](const SamplingOptions& options) -> std::string {
    try {
      check_sampling(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(sentence({}), "accepted");
  EXPECT_EQ(sentence({.temperature = -1}), "temperature is -1, it must be 0 (greedy) or above");
  EXPECT_NE(sentence({.temperature = NAN}).find("temperature is"), std::string::npos);
  EXPECT_NE(sentence({.top_k = -2}).find("top-k is -2"), std::string::npos);
  EXPECT_NE(sentence({.top_p = 0}).find("top-p is 0"), std::string::npos);
  EXPECT_NE(sentence({.top_p = 1.5f}).find("top-p is 1.5"), std::string::npos);
  EXPECT_NE(sentence({.min_p = -0.1f}).find("min-p is -0.1"), std::string::npos);
  EXPECT_NE(sentence({.repetition_penalty = 0}).find("repetition-penalty is 0"), std::string::npos);
}

// What a reader sees when `text` arrives cut into pieces of `step` bytes.
std::string shown(const std::vector<std::string>& stops, const std::string& text, size_t step) {
  StopStrings matcher(stops);
  std::string out;
  for (size_t i = 0; i < text.size(); i += step) out += matcher.add(text.substr(i, step));
  return out + matcher.finish();
}

TEST(StopStrings, TheTextEndsBeforeTheFirstOfThemHoweverItIsCut) {
  for (size_t step = 1; step <= 12; step++) {
    EXPECT_EQ(shown({"END"}, "a b ENEND c", step), "a b EN");
    EXPECT_EQ(shown({"aab"}, "aaaab", step), "aa");
    EXPECT_EQ(shown({"xyz", "b E"}, "a b END", step), "a ");
    EXPECT_EQ(shown({"\n\n"}, "one\ntwo\n", step), "one\ntwo\n");
    EXPECT_EQ(shown({}, "all of it", step), "all of it");
    EXPECT_EQ(shown({"all"}, "all of it", step), "");
  }
}

TEST(StopStrings, NothingIsHeldBackThatCannotBelongToOne) {
  StopStrings matcher({"stop!"});
  EXPECT_EQ(matcher.add("please s"), "please ");
  EXPECT_EQ(matcher.add("t"), "");
  EXPECT_EQ(matcher.add("art"), "start");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_THROW(StopStrings({""}), Error);
}

}  // namespace
}  // namespace pagoda::engine

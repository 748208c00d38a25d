// A caller's spec, limits and tuning become a Problem, or a failure that names the field.
#include "src/plan/problem.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "src/core/error.h"

namespace pagoda {
namespace {

struct Given {
  pagoda_spec spec{};
  pagoda_limits limits{};
  pagoda_tuning tuning{};

  Given() {
    spec.num_heads = 8;
    spec.num_kv_heads = 2;
    spec.head_dim = 64;
    spec.page_size = 16;
    spec.causal = 1;
    limits.max_reqs = 4;
    limits.max_tokens = 32;
    limits.max_seq_len = 100;
    limits.num_pages = 10;
  }
  Problem problem() const { return make_problem(spec, limits, tuning); }
};

TEST(Problem, FillsInDefaults) {
  const Problem problem = Given().problem();
  EXPECT_EQ(problem.head_dim_v, 64);
  EXPECT_FLOAT_EQ(problem.score.scale, 0.125f);
  EXPECT_EQ(problem.limits.max_query_len, 32);
  EXPECT_EQ(problem.group(), 4);
  EXPECT_TRUE(problem.has_cache());
  EXPECT_EQ(problem.mask, (Mask{.causal = true}));
  EXPECT_EQ(problem.tuning.kernel, "");
}

TEST(Problem, KeepsWhatIsGiven) {
  Given given;
  given.spec.head_dim_v = 24;
  given.spec.softmax_scale = -0.25f;
  given.spec.has_window = 1;
  given.spec.window_left = 0;
  given.spec.window_right = -1;
  given.spec.has_sinks = 1;
  given.spec.alibi = PAGODA_ALIBI_SQRT;
  given.limits.max_query_len = 7;
  given.tuning.num_splits = 3;
  given.tuning.kernel = "name";
  const Problem problem = given.problem();
  EXPECT_EQ(problem.head_dim_v, 24);
  EXPECT_EQ(problem.score.scale, -0.25f);
  EXPECT_EQ(problem.mask, (Mask{.causal = true, .window_left = 0, .window_right = -1}));
  EXPECT_TRUE(problem.has_sinks);
  EXPECT_EQ(problem.score.alibi, Alibi::sqrt);
  EXPECT_EQ(problem.limits.max_query_len, 7);
  EXPECT_EQ(problem.tuning.num_splits, 3);
  EXPECT_EQ(problem.tuning.kernel, "name");
}

TEST(Problem, WithoutACacheIgnoresThePages) {
  Given given;
  given.spec.page_size = 0;
  given.limits.num_pages = -5;
  EXPECT_FALSE(given.problem().has_cache());
  EXPECT_EQ(given.problem().limits.num_pages, 0);
}

TEST(Problem, TakesEveryHeadDimAndPageSizeOfTheContract) {
  for (int32_t dim = 8; dim <= 512; dim += 8) {
    Given given;
    given.spec.head_dim = dim;
    given.spec.head_dim_v = 520 - dim;
    EXPECT_NO_THROW(given.problem()) << dim;
  }
  for (int32_t page_size = 8; page_size <= 256; page_size += 8) {
    Given given;
    given.spec.page_size = page_size;
    EXPECT_NO_THROW(given.problem()) << page_size;
  }
}

struct Wrong {
  const char* field;  // what the sentence names
  std::function<void(Given&)> spoil;
};

TEST(Problem, NamesTheFieldThatIsWrong) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Wrong> all{
      {"spec.num_heads", [](Given& g) { g.spec.num_heads = 0; }},
      {"spec.num_heads", [](Given& g) { g.spec.num_heads = -8; }},
      {"spec.num_heads", [](Given& g) { g.spec.num_heads = 9; }},
      {"spec.num_heads", [](Given& g) { g.spec.num_heads = INT32_MAX - 1; }},
      {"spec.num_kv_heads", [](Given& g) { g.spec.num_kv_heads = 0; }},
      {"spec.head_dim", [](Given& g) { g.spec.head_dim = 0; }},
      {"spec.head_dim", [](Given& g) { g.spec.head_dim = 12; }},
      {"spec.head_dim", [](Given& g) { g.spec.head_dim = 520; }},
      {"spec.head_dim_v", [](Given& g) { g.spec.head_dim_v = -8; }},
      {"spec.dtype", [](Given& g) { g.spec.dtype = PAGODA_INT8; }},
      {"spec.dtype", [](Given& g) { g.spec.dtype = static_cast<pagoda_dtype>(40); }},
      {"spec.kv_format", [](Given& g) { g.spec.kv_format = static_cast<pagoda_kv_format>(6); }},
      {"spec.page_size", [](Given& g) { g.spec.page_size = 12; }},
      {"spec.page_size", [](Given& g) { g.spec.page_size = -16; }},
      {"spec.softmax_scale", [=](Given& g) { g.spec.softmax_scale = kNaN; }},
      {"spec.logit_softcap", [](Given& g) { g.spec.logit_softcap = -1; }},
      {"spec.logit_softcap", [=](Given& g) { g.spec.logit_softcap = kNaN; }},
      {"spec.causal", [](Given& g) { g.spec.causal = 2; }},
      {"spec.has_window", [](Given& g) { g.spec.has_window = -1; }},
      {"spec.has_window", [](Given& g) { g.spec.window_left = 3; }},
      {"spec.window_left",
       [](Given& g) {
         g.spec.has_window = 1;
         g.spec.window_left = -2;
       }},
      {"spec.window_right",
       [](Given& g) {
         g.spec.has_window = 1;
         g.spec.window_right = -2;
       }},
      {"spec.alibi", [](Given& g) { g.spec.alibi = static_cast<pagoda_alibi>(3); }},
      {"spec.has_sinks", [](Given& g) { g.spec.has_sinks = 7; }},
      {"limits.max_reqs", [](Given& g) { g.limits.max_reqs = 0; }},
      {"limits.max_tokens", [](Given& g) { g.limits.max_tokens = 0; }},
      {"limits.max_seq_len", [](Given& g) { g.limits.max_seq_len = -1; }},
      {"limits.max_query_len", [](Given& g) { g.limits.max_query_len = 33; }},
      {"limits.num_pages", [](Given& g) { g.limits.num_pages = 0; }},
      {"tuning.num_splits", [](Given& g) { g.tuning.num_splits = -1; }},
  };
  for (const Wrong& wrong : all) {
    Given given;
    wrong.spoil(given);
    try {
      given.problem();
      ADD_FAILURE() << "it was taken: " << wrong.field;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, PAGODA_INVALID_ARGUMENT) << failure.what();
      EXPECT_NE(std::string(failure.what()).find(wrong.field), std::string::npos) << failure.what();
    }
  }
}

}  // namespace
}  // namespace pagoda

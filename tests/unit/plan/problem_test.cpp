// Defaults of a problem; what it refuses is tested through the C interface (tests/capi).
#include "src/plan/problem.h"

#include <gtest/gtest.h>

#include <cmath>

#include "src/core/error.h"

namespace pagoda {
namespace {

pagoda_spec valid_spec() {
  pagoda_spec spec = PAGODA_INIT(pagoda_spec);
  spec.num_heads = 6;
  spec.num_kv_heads = 2;
  spec.head_dim = 64;
  spec.page_size = 16;
  return spec;
}

pagoda_limits valid_limits() {
  pagoda_limits limits = PAGODA_INIT(pagoda_limits);
  limits.max_reqs = 3;
  limits.max_tokens = 100;
  limits.max_seq_len = 1000;
  limits.num_pages = 50;
  return limits;
}

TEST(Problem, FillsInDefaults) {
  const Problem problem = make_problem(valid_spec(), valid_limits(), {});
  EXPECT_EQ(problem.group(), 3);
  EXPECT_EQ(problem.head_dim_v, 64);
  EXPECT_FLOAT_EQ(problem.score.scale, 0.125f);
  EXPECT_EQ(problem.mask, (Mask{false, -1, -1}));
  EXPECT_EQ(problem.limits.max_query_len, 100);
  EXPECT_EQ(problem.tuning.kernel, "");
  EXPECT_TRUE(problem.has_cache());
}

TEST(Problem, KeepsWhatIsGiven) {
  pagoda_spec spec = valid_spec();
  spec.softmax_scale = -0.5f;
  spec.head_dim_v = 32;
  spec.causal = spec.has_window = 1;
  spec.window_left = 0;
  spec.window_right = -1;
  spec.alibi = PAGODA_ALIBI_SQRT;
  pagoda_tuning tuning = PAGODA_INIT(pagoda_tuning);
  tuning.num_splits = 7;
  tuning.kernel = "one";
  const Problem problem = make_problem(spec, valid_limits(), tuning);
  EXPECT_EQ(problem.score.scale, -0.5f);
  EXPECT_EQ(problem.head_dim_v, 32);
  EXPECT_EQ(problem.mask, (Mask{true, 0, -1}));
  EXPECT_EQ(problem.score.alibi, Alibi::sqrt);
  EXPECT_EQ(problem.tuning.num_splits, 7);
  EXPECT_EQ(problem.tuning.kernel, "one");
}

TEST(Problem, WithoutACacheHasNoPages) {
  pagoda_spec spec = valid_spec();
  spec.page_size = 0;
  pagoda_limits limits = valid_limits();
  limits.num_pages = 0;
  const Problem problem = make_problem(spec, limits, {});
  EXPECT_FALSE(problem.has_cache());
  EXPECT_EQ(problem.limits.num_pages, 0);
}

}  // namespace
}  // namespace pagoda

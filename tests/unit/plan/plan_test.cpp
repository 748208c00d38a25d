// Invariants of a plan's steps: every (query, key) pair that the mask shows is attended exactly
// once, and a sink is added exactly once.
#include "src/plan/plan.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

int times_attended(const Plan& plan, int32_t position, int32_t key, int32_t seq_len) {
  int times = 0;
  for (const Step& step : plan.steps) {
    const Attend& attend = std::get<Attend>(step);
    const KeyRange range = visible_keys(attend.mask, position, seq_len);
    times += key >= range.begin && key < range.end;
  }
  return times;
}

TEST(Plan, AttendsEveryVisiblePairOnceAndNoOther) {
  for (const bool causal : {false, true})
    for (const int window : {-1, 0, 3})
      for (const int page_size : {0, 8}) {
        Problem problem;
        problem.mask = {causal, window, window};
        problem.page_size = page_size;
        const Plan plan = make_plan(problem);
        for (int p = -2; p < 9; ++p)
          for (int j = 0; j < 9; ++j) {
            const KeyRange range = visible_keys(problem.mask, p, 9);
            ASSERT_EQ(times_attended(plan, p, j, 9), j >= range.begin && j < range.end ? 1 : 0);
          }
      }
}

TEST(Plan, AddsSinksOnceIfThereAreAny) {
  for (const bool has_sinks : {false, true}) {
    Problem problem;
    problem.has_sinks = has_sinks;
    int times = 0;
    for (const Step& step : make_plan(problem).steps) times += std::get<Attend>(step).adds_sinks;
    EXPECT_EQ(times, has_sinks ? 1 : 0);
  }
}

TEST(Plan, TakesKeysFromTheCacheIfThereIsOne) {
  Problem problem;
  problem.page_size = 16;
  EXPECT_EQ(std::get<Attend>(make_plan(problem).steps[0]).keys, Keys::cache);
  problem.page_size = 0;
  EXPECT_EQ(std::get<Attend>(make_plan(problem).steps[0]).keys, Keys::call);
}

}  // namespace
}  // namespace pagoda

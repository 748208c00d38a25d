// The steps of a plan: where keys come from, and that a sink is added exactly once.
#include <gtest/gtest.h>

#include "plan/plan.h"

namespace pagoda {
namespace {

int steps_that_add_sinks(const Plan& plan) {
  int count = 0;
  for (const Step& step : plan.steps) count += std::get<Attend>(step).adds_sinks;
  return count;
}

TEST(MakePlan, OneAttendOverTheCacheOrTheCall) {
  Problem problem;
  problem.page_size = 16;
  problem.mask = {.causal = false, .window_left = 3, .window_right = 4};
  const Plan cached = make_plan(problem);
  ASSERT_EQ(cached.steps.size(), 1u);
  EXPECT_EQ(std::get<Attend>(cached.steps[0]).keys, Keys::cache);
  EXPECT_EQ(std::get<Attend>(cached.steps[0]).mask, problem.mask);
  problem.page_size = 0;
  EXPECT_EQ(std::get<Attend>(make_plan(problem).steps[0]).keys, Keys::call);
}

TEST(MakePlan, ASinkIsAddedOnceOrNotAtAll) {
  Problem problem;
  EXPECT_EQ(steps_that_add_sinks(make_plan(problem)), 0);
  problem.has_sinks = true;
  EXPECT_EQ(steps_that_add_sinks(make_plan(problem)), 1);
}

}  // namespace
}  // namespace pagoda

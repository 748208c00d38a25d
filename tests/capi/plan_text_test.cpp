// The texts that people read: doctor, explain, describe.
#include "world.h"

namespace pagoda::test {
namespace {

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

TEST(PlanText, DescribeNamesKernelStepsAndWorkspace) {
  World world("reference");
  world.spec.has_window = 1;
  world.spec.window_left = 4;
  world.spec.logit_softcap = 30;
  ASSERT_EQ(world.run().status, PAGODA_OK);
  const std::string text = text_of(
      [&](char* buffer, size_t size) { return pagoda_plan_describe(world.plan, buffer, size); });
  EXPECT_TRUE(contains(text, "reference.direct")) << text;
  EXPECT_TRUE(contains(text, "causal, window 4 back")) << text;
  EXPECT_TRUE(contains(text, "soft-cap 30")) << text;
  EXPECT_TRUE(contains(text, "group 2")) << text;
  EXPECT_TRUE(
      contains(text, (std::to_string(pagoda_plan_workspace_size(world.plan)) + " bytes").c_str()))
      << text;
}

TEST(PlanText, ExplainHasALineForEveryBackend) {
  World world("reference");
  std::string text = explain(world.spec);
  EXPECT_TRUE(contains(text, "cpu: serves with kernel cpu.")) << text;
  EXPECT_TRUE(contains(text, "reference: serves with kernel reference.direct")) << text;
  world.spec.kv_format = PAGODA_KV_FP8_E4M3;
  world.spec.page_size = 0;
  text = explain(world.spec);
  EXPECT_TRUE(contains(text, "cpu: refuses: ")) << text;
  EXPECT_TRUE(contains(text, "reference: refuses: ")) << text;
}

TEST(PlanText, IsCutWhereTheBufferEnds) {
  World world("reference");
  const size_t whole = pagoda_doctor(nullptr, 0);
  char buffer[8];
  EXPECT_EQ(pagoda_doctor(buffer, sizeof buffer), whole);
  EXPECT_EQ(std::string(buffer), "pagoda ");
}

}  // namespace
}  // namespace pagoda::test

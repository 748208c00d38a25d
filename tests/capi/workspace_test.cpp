// The workspace is exact: a step works with exactly its bytes, writes none behind them, and does
// not care what they held before.
#include <algorithm>

#include "world.h"

namespace pagoda::test {
namespace {

class Workspace : public ::testing::TestWithParam<const char*> {};

TEST_P(Workspace, IsExactAndItsOldContentDoesNotMatter) {
  World world(GetParam());
  ASSERT_EQ(world.run().status, PAGODA_OK);
  const std::vector<float> expected = world.o, expected_lse = world.l;
  const size_t size = pagoda_plan_workspace_size(world.plan);
  constexpr size_t kGuard = 4096;
  for (const int fill : {0xff, 0x00, 0x7e}) {
    const AlignedBytes memory = aligned_bytes(size + kGuard);
    std::fill_n(memory.get(), size + kGuard, static_cast<std::byte>(fill));
    std::fill(world.o.begin(), world.o.end(), -1.0f);
    ASSERT_EQ(pagoda_plan_prepare(world.plan, &world.batch, memory.get(), size, nullptr),
              PAGODA_OK);
    ASSERT_EQ(pagoda_forward(world.plan, &world.layer, &world.query, nullptr, nullptr, &world.out,
                             &world.lse, nullptr),
              PAGODA_OK);
    EXPECT_EQ(world.o, expected);
    EXPECT_EQ(world.l, expected_lse);
    const auto* behind = memory.get() + size;
    EXPECT_TRUE(std::all_of(behind, behind + kGuard,
                            [&](std::byte b) { return b == static_cast<std::byte>(fill); }));
  }
}

// The size follows from limits: a smaller batch needs no other plan, and another plan of the same
// limits has the same size.
TEST_P(Workspace, SizeDoesNotDependOnTheBatch) {
  World world(GetParam());
  ASSERT_EQ(world.run().status, PAGODA_OK);
  const size_t size = pagoda_plan_workspace_size(world.plan);
  world.batch.num_reqs = 1;
  world.batch.num_tokens = 3;
  world.skip_update = world.skip_forward = true;
  ASSERT_EQ(world.step().status, PAGODA_OK);
  EXPECT_EQ(pagoda_plan_workspace_size(world.plan), size);
}

// Not of the reference, which needs none.
TEST(WorkspaceOfTheCpu, IsRefusedIfItIsOneByteShort) {
  World world("cpu");
  world.workspace_missing = 1;
  const Result result = world.run();
  EXPECT_EQ(result.status, PAGODA_WORKSPACE_TOO_SMALL);
  const std::string needed = std::to_string(pagoda_plan_workspace_size(world.plan));
  EXPECT_NE(result.sentence.find("this plan needs " + needed), std::string::npos)
      << result.sentence;
}

TEST(WorkspaceOfTheCpu, IsRefusedIfItIsNull) {
  World world("cpu");
  world.no_workspace = true;
  const Result result = world.run();
  EXPECT_EQ(result.status, PAGODA_INVALID_ARGUMENT);
  EXPECT_NE(result.sentence.find("workspace is NULL"), std::string::npos) << result.sentence;
}

INSTANTIATE_TEST_SUITE_P(Backends, Workspace, ::testing::Values("cpu", "reference"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace pagoda::test

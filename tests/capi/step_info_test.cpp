// What a prepared step says about itself: numbers and words, that agree with the batch.
#include <algorithm>

#include "world.h"

namespace pagoda::test {
namespace {

// Eight requests that share 32 pages of 8 tokens, with a page of their own each.
struct SharedWorld : World {
  static constexpr int kReqs = 8, kSharedPages = 32, kAllPages = kSharedPages + kReqs;

  explicit SharedWorld(const char* backend, int32_t cascade) : World(backend) {
    query_start_loc.clear(), page_table.clear();
    for (int32_t r = 0; r < kReqs; ++r) {
      query_start_loc.push_back(r);
      for (int32_t i = 0; i < kSharedPages; ++i) page_table.push_back(i);
      page_table.push_back(kSharedPages + r);
    }
    query_start_loc.push_back(kReqs);
    seq_lens.assign(kReqs, kSharedPages * kPageSize + 3);
    limits.max_reqs = limits.max_tokens = limits.max_query_len = batch.num_reqs = kReqs;
    batch.num_tokens = kReqs;
    limits.max_seq_len = 512;
    limits.num_pages = kAllPages;
    batch.query_start_loc = query_start_loc.data();
    batch.seq_lens = seq_lens.data();
    batch.page_table = page_table.data();
    batch.page_table_stride = batch.page_table_width = kSharedPages + 1;
    batch.slot_mapping = nullptr;
    tuning.cascade = cascade;
    skip_update = skip_forward = true;
  }

  StepInfo info() const {
    StepInfo it;
    EXPECT_EQ(pagoda_plan_step_info(plan, &it), PAGODA_OK) << pagoda_last_error();
    return it;
  }
  std::string words() const {
    return text_of(
        [&](char* buffer, size_t size) { return pagoda_plan_describe_step(plan, buffer, size); });
  }
};

constexpr int64_t kKeyBytes = int64_t{2} * World::kKvHeads * World::kDim * sizeof(float);

TEST(StepInfo, CountsGroupsAndBytes) {
  SharedWorld world("cpu", 1);
  ASSERT_EQ(world.run().status, PAGODA_OK) << pagoda_last_error();
  const StepInfo info = world.info();
  EXPECT_EQ(info.cascade_groups, 1);
  EXPECT_EQ(info.cascade_levels, 1);
  EXPECT_EQ(info.cascade_reqs, 8);
  EXPECT_EQ(info.cascade_keys, 256);
  EXPECT_EQ(info.key_bytes, (256 + 8 * 3) * kKeyBytes);
  EXPECT_EQ(info.key_bytes_flat, 8 * (256 + 3) * kKeyBytes);
  EXPECT_NE(world.words().find("1 group on 1 level: 8 requests share 256 keys"), std::string::npos)
      << world.words();
  EXPECT_NE(world.words().find(std::to_string(info.key_bytes) + " bytes"), std::string::npos);
}

TEST(StepInfo, SaysWhyThereAreNoGroups) {
  SharedWorld never("cpu", -1);
  ASSERT_EQ(never.run().status, PAGODA_OK);
  EXPECT_EQ(never.info().cascade_groups, 0);
  EXPECT_EQ(never.info().key_bytes, never.info().key_bytes_flat);
  EXPECT_EQ(never.words(), "cascade    none: tuning.cascade is -1\n");

  SharedWorld alone("cpu", 0);
  for (size_t i = 0; i < alone.page_table.size(); ++i)
    alone.page_table[i] = static_cast<int32_t>(i % SharedWorld::kAllPages);
  ASSERT_EQ(alone.run().status, PAGODA_OK);
  EXPECT_NE(alone.words().find("none: no two requests"), std::string::npos) << alone.words();

  SharedWorld few("cpu", 0);
  few.batch.num_reqs = few.batch.num_tokens = 2;
  few.seq_lens[0] = few.seq_lens[1] = 65;
  ASSERT_EQ(few.run().status, PAGODA_OK);
  EXPECT_NE(few.words().find("2 requests share 64 keys, but a group of them would cost more"),
            std::string::npos)
      << few.words();

  SharedWorld other("reference", 1);
  ASSERT_EQ(other.run().status, PAGODA_OK);
  EXPECT_EQ(other.words(), "cascade    none: this backend attends every request on its own\n");
  EXPECT_EQ(other.info().key_bytes, 0);
}

TEST(StepInfo, IsOfThePreparedStep) {
  SharedWorld world("cpu", 1);
  world.skip_prepare = true;
  ASSERT_EQ(world.run().status, PAGODA_OK);
  StepInfo info;
  EXPECT_EQ(pagoda_plan_step_info(world.plan, &info), PAGODA_INVALID_ARGUMENT);
  EXPECT_NE(std::string(pagoda_last_error()).find("not prepared"), std::string::npos);
  EXPECT_EQ(world.words(), "");
}

TEST(StepInfo, FillsAsMuchAsTheCallersStructHas) {
  SharedWorld world("cpu", 1);
  ASSERT_EQ(world.run().status, PAGODA_OK);
  StepInfo info;
  info.struct_size = offsetof(pagoda_step_info, key_bytes);
  info.key_bytes = -7;
  ASSERT_EQ(pagoda_plan_step_info(world.plan, &info), PAGODA_OK);
  EXPECT_EQ(info.cascade_groups, 1);
  EXPECT_EQ(info.key_bytes, -7);
  EXPECT_EQ(info.struct_size, offsetof(pagoda_step_info, key_bytes));
}

// Room for the states that groups leave is taken only where there can be groups.
TEST(StepInfo, NoRoomIsTakenWhereNothingCanBeShared) {
  const auto size_of = [](const char* backend, int32_t cascade, int32_t reqs, bool has_cache) {
    SharedWorld world(backend, cascade);
    world.limits.max_reqs = reqs;
    if (!has_cache) world.spec.page_size = 0;
    pagoda_context* context = nullptr;
    pagoda_plan* plan = nullptr;
    EXPECT_EQ(pagoda_context_create(&world.options, &context), PAGODA_OK);
    EXPECT_EQ(pagoda_plan_create(context, &world.spec, &world.limits, &world.tuning, &plan),
              PAGODA_OK)
        << pagoda_last_error();
    const size_t size = pagoda_plan_workspace_size(plan);
    const std::string text = text_of(
        [&](char* buffer, size_t room) { return pagoda_plan_describe(plan, buffer, room); });
    EXPECT_EQ(text.find("cpu.left") != std::string::npos, cascade >= 0 && reqs > 1 && has_cache);
    pagoda_plan_destroy(plan);
    pagoda_context_destroy(context);
    return size;
  };
  EXPECT_GT(size_of("cpu", 0, 8, true), size_of("cpu", -1, 8, true));
  EXPECT_GE(size_of("cpu", 1, 8, true), size_of("cpu", 0, 8, true));
  EXPECT_EQ(size_of("cpu", 1, 1, true), size_of("cpu", -1, 1, true));
  EXPECT_EQ(size_of("cpu", 1, 8, false), size_of("cpu", -1, 8, false));
}

}  // namespace
}  // namespace pagoda::test

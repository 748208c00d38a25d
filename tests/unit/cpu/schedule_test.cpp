// How a long request is dealt out under a block mask: by what the mask shows, not by keys.
#include "cpu/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "cpu/select.h"
#include "mask/parse.h"
#include "tests/unit/mask/built_mask.h"

namespace pagoda::cpu {
namespace {

constexpr int32_t kLength = 65536, kThreads = 4;

Problem masked_problem() {
  Problem problem{.num_heads = 4, .num_kv_heads = 1, .head_dim = 64, .head_dim_v = 64};
  problem.has_block_mask = true;
  problem.page_size = 16;
  problem.limits = {.max_reqs = 1,
                    .max_tokens = 1,
                    .max_query_len = 1,
                    .max_seq_len = kLength,
                    .num_pages = kLength / 16};
  problem.tuning.cascade = -1;
  return problem;
}

// A decode step of one request under the mask.
class Dealt {
 public:
  explicit Dealt(const char* text)
      : bindings_(symbols_),
        builder_(mask::parse_mask(text, symbols_), bindings_, {},
                 {.max_reqs = 1, .max_tokens = 1, .max_seq_len = kLength}) {
    steps_.add(kLength, 1);
    built_ = std::make_unique<mask::BuiltMask>(builder_, steps_);
    const CpuKernel kernel = available_kernels("scalar").at(0);
    const Geometry geometry(problem_, *kernel.functions);
    add_schedule_regions(problem_, geometry, kThreads, map_);
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(
        WorkspaceMap::kAlignment,
        map_.size() + WorkspaceMap::kAlignment - map_.size() % WorkspaceMap::kAlignment)));
    Batch batch;
    batch.num_reqs = batch.num_tokens = batch.max_query_len = 1;
    batch.max_seq_len = kLength;
    batch.query_start_loc = steps_.query_start_loc.data();
    batch.seq_lens = steps_.seq_lens.data();
    batch.block_mask = built_->mask();
    const Kernel name{"cpu.scalar"};
    const Prepared prepared{problem_, name, map_, memory_.get(), batch, nullptr};
    make_schedule(prepared, *kernel.functions, geometry, kThreads);
    const Schedule schedule(prepared);
    items_.assign(schedule.items, schedule.items + schedule.header->level_end[0]);
    std::sort(items_.begin(), items_.end(),
              [](const Item& a, const Item& b) { return a.split_begin < b.split_begin; });
  }

  const std::vector<Item>& items() const { return items_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  const Problem problem_ = masked_problem();
  const mask::Symbols symbols_;
  mask::Bindings bindings_;
  mask::BlockMaskBuilder builder_;
  mask::Batch steps_;
  std::unique_ptr<mask::BuiltMask> built_;
  WorkspaceMap map_;
  std::unique_ptr<std::byte, Free> memory_;
  std::vector<Item> items_;
};

void expect_whole(const std::vector<Item>& items) {
  int32_t split = items.front().tile_begin;
  for (const Item& item : items) {
    EXPECT_EQ(item.split_begin, split);
    EXPECT_GT(item.split_end, item.split_begin);
    EXPECT_EQ(item.pieces, static_cast<int32_t>(items.size()));
    split = item.split_end;
  }
  EXPECT_EQ(split, items.front().tile_end);
}

int64_t largest_cost(const std::vector<Item>& items) {
  int64_t cost = 0;
  for (const Item& item : items) cost = std::max(cost, item.cost);
  return cost;
}

int64_t total_cost(const std::vector<Item>& items) {
  return std::accumulate(items.begin(), items.end(), int64_t{0},
                         [](int64_t sum, const Item& item) { return sum + item.cost; });
}

TEST(Schedule, DealsOutAWholeRequestEvenly) {
  const Dealt dealt("q >= k");
  expect_whole(dealt.items());
  ASSERT_GE(dealt.items().size(), size_t{kThreads});
  EXPECT_LT(largest_cost(dealt.items()) * kThreads, total_cost(dealt.items()) * 11 / 10);
}

// The first few keys, and the last quarter of them.
TEST(Schedule, DealsOutWhatAMaskShows) {
  const Dealt dealt("k < 2048 || q - k < 16384");
  expect_whole(dealt.items());
  ASSERT_GE(dealt.items().size(), size_t{kThreads});
  EXPECT_LT(largest_cost(dealt.items()) * kThreads, total_cost(dealt.items()) * 12 / 10);
  // The desert between is in one piece with what surrounds it.
  const int32_t splits = dealt.items().front().tile_end;
  const Item* longest = &dealt.items().front();
  for (const Item& item : dealt.items())
    if (item.split_end - item.split_begin > longest->split_end - longest->split_begin)
      longest = &item;
  EXPECT_GT(longest->split_end - longest->split_begin, splits / 2);
}

}  // namespace
}  // namespace pagoda::cpu

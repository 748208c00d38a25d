// The paged cache as an engine uses it, through the C interface and its C++ face.
#include <cstddef>
#include <cstring>
#include <pagoda/kv.hpp>

#include "kv_world.h"

namespace pagoda::test {
namespace {

std::vector<int32_t> run(int32_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(KvUse, FillsABatchWithPadding) {
  KvWorld w;
  w.run();
  ASSERT_EQ(pagoda_cache_fill(w.cache, 0, &w.step), PAGODA_OK) << pagoda_last_error();
  // 20 tokens on pages 1 to 3 of 8; this step's four are at 16 to 19. The second row is padding.
  EXPECT_EQ(w.page_table, (std::array<int32_t, 8>{1, 2, 3, -9, 0, 0, 0, 0}));
  EXPECT_EQ(w.slots, (std::array<int64_t, 8>{24, 25, 26, 27, -1, -1, -1, -1}));
}

TEST(KvUse, FillsTheWindowedGroup) {
  KvWorld w;
  w.run();
  std::array<int32_t, 16> table;
  table.fill(-9);
  w.step.page_table = table.data();
  w.step.page_table_stride = w.step.page_table_width = 8;
  ASSERT_EQ(pagoda_cache_fill(w.cache, 1, &w.step), PAGODA_OK) << pagoda_last_error();
  // The token at 16 sees 11 to 15, so pages 0 and 1 (tokens 0 to 7) were given back.
  EXPECT_EQ(table, (std::array<int32_t, 16>{0, 0, 3, 4, 5, -9, -9, -9, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(w.slots, (std::array<int64_t, 8>{20, 21, 22, 23, -1, -1, -1, -1}));
}

TEST(KvUse, FillWritesOnlyWhatIsWanted) {
  KvWorld w;
  w.run();
  w.step.page_table = nullptr;
  w.step.page_table_width = -77;
  ASSERT_EQ(pagoda_cache_fill(w.cache, 0, &w.step), PAGODA_OK) << pagoda_last_error();
  EXPECT_EQ(w.slots[0], 24);
  KvWorld v;
  v.run();
  v.step.slot_mapping = nullptr;
  ASSERT_EQ(pagoda_cache_fill(v.cache, 0, &v.step), PAGODA_OK) << pagoda_last_error();
  EXPECT_EQ(v.slots[0], -9);
  EXPECT_EQ(v.page_table[0], 1);
}

TEST(KvUse, KernelPagesInRowsAndSlots) {
  KvWorld w;
  w.groups[0].kernel_page_size = 2;
  w.run();
  std::array<int32_t, 12> row;
  ASSERT_EQ(pagoda_cache_page_row(w.cache, 0, 7, 0, row.data(), 12, &w.count), PAGODA_OK);
  EXPECT_EQ(w.count, 12);
  EXPECT_EQ(row, (std::array<int32_t, 12>{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
  int32_t last = 0;
  ASSERT_EQ(pagoda_cache_page_row(w.cache, 0, 7, 11, &last, 1, &w.count), PAGODA_OK);
  EXPECT_EQ(last, 15);
  int64_t slot = 0;
  ASSERT_EQ(pagoda_cache_slots(w.cache, 0, 7, 19, 1, &slot), PAGODA_OK);
  EXPECT_EQ(slot, 13 * 2 + 1);  // column 9 of the row, offset 1
}

TEST(KvUse, RanksOfAGroup) {
  KvWorld w;
  w.groups[0].page_size = w.groups[1].page_size = 4;
  w.groups[1].window = 0;
  w.options.num_ranks = 2;
  w.options.interleave = 2;
  w.options.rank = 1;
  ASSERT_EQ(w.create(), PAGODA_OK) << pagoda_last_error();
  ASSERT_EQ(w.begin(), PAGODA_OK);
  ASSERT_EQ(pagoda_cache_grow(w.cache, 7, 12), PAGODA_OK);
  std::array<int64_t, 12> slots;
  ASSERT_EQ(pagoda_cache_slots(w.cache, 0, 7, 0, 12, slots.data()), PAGODA_OK);
  EXPECT_EQ(slots, (std::array<int64_t, 12>{-1, -1, 4, 5, -1, -1, 6, 7, -1, -1, 8, 9}));
}

// An older header: a shorter struct is filled as far as it goes.
TEST(KvUse, WritesNoMoreThanTheCallerKnows) {
  KvWorld w;
  w.run();
  pagoda_cache_stats stats;
  std::memset(&stats, 0x5a, sizeof stats);
  stats.struct_size = offsetof(pagoda_cache_stats, num_shared);
  ASSERT_EQ(pagoda_cache_get_stats(w.cache, 0, &stats), PAGODA_OK);
  EXPECT_EQ(stats.num_used, 3);
  EXPECT_EQ(stats.struct_size, offsetof(pagoda_cache_stats, num_shared));
  EXPECT_EQ(stats.num_shared, 0x5a5a5a5a5a5a5a5a);
}

TEST(KvUse, StatsOfAPoolAndOfAll) {
  KvWorld w;
  w.run();
  const auto stats = [&](int32_t pool) {
    auto own = PAGODA_INIT(pagoda_cache_stats);
    EXPECT_EQ(pagoda_cache_get_stats(w.cache, pool, &own), PAGODA_OK);
    return own;
  };
  EXPECT_EQ(stats(0).num_pages, 10);
  EXPECT_EQ(stats(0).num_used, 3);
  EXPECT_EQ(stats(1).num_used, 3);  // 5 pages, of which the window has left 2
  EXPECT_EQ(stats(1).num_cached, 2);
  EXPECT_EQ(stats(1).max_used, 5);
  EXPECT_EQ(stats(-1).num_pages, 22);
  EXPECT_EQ(stats(-1).num_used, 6);
  EXPECT_EQ(stats(-1).num_used + stats(-1).num_cached + stats(-1).num_free + 2, 22);
  EXPECT_EQ(stats(-1).num_requests, 1);
  EXPECT_EQ(stats(-1).num_query_tokens, 20);
}

TEST(KvUse, PagesForPictures) {
  KvWorld w;
  w.run();
  const auto page = [&](int32_t pool, int64_t id) {
    auto own = PAGODA_INIT(pagoda_cache_page_info);
    EXPECT_EQ(pagoda_cache_get_page(w.cache, pool, id, &own), PAGODA_OK);
    return own;
  };
  EXPECT_EQ(page(0, 0).state, PAGODA_PAGE_NULL);
  EXPECT_EQ(page(0, 1).state, PAGODA_PAGE_USED);
  EXPECT_EQ(page(0, 1).owner, 7u);
  EXPECT_EQ(page(0, 1).num_owners, 1);
  EXPECT_EQ(page(0, 1).has_key, 1);
  EXPECT_EQ(page(0, 3).has_key, 0);
  EXPECT_EQ(page(0, 4).state, PAGODA_PAGE_FREE);
  EXPECT_EQ(page(0, 4).group, -1);
  EXPECT_EQ(page(1, 1).state, PAGODA_PAGE_CACHED);
  EXPECT_EQ(page(1, 1).group, 1);
}

// Sixteen requests with a common prompt and few pages: every one gets through, as an engine would
// do it, and nothing is left over.
TEST(KvUse, ServesManyRequestsOnFewPages) {
  Cache cache = Cache::single(4, 40);
  struct Running {
    uint64_t id;
    std::vector<int32_t> tokens;
  };
  std::vector<Running> waiting, running;
  for (uint64_t id = 1; id <= 16; ++id) waiting.push_back({id, run(13)});
  int finished = 0, preempted = 0;
  for (int steps = 0; finished < 16; ++steps) {
    ASSERT_LT(steps, 10000);
    while (!waiting.empty()) {
      Running& next = waiting.back();
      cache.begin({next.id, next.tokens});
      if (!cache.grow(next.id, static_cast<int32_t>(next.tokens.size()))) {
        cache.free(next.id);
        break;
      }
      running.push_back(std::move(next));
      waiting.pop_back();
    }
    for (size_t r = 0; r < running.size(); ++r) {
      const auto length = static_cast<int32_t>(running[r].tokens.size());
      if (!cache.grow(running[r].id, length)) {
        cache.free(running.back().id);  // the youngest
        waiting.push_back(std::move(running.back()));
        running.pop_back();
        ++preempted;
        --r;
        continue;
      }
      cache.commit(running[r].id, length);
      running[r].tokens.push_back(static_cast<int32_t>(1000 * running[r].id) + length);
      cache.append(running[r].id, running[r].tokens.back());
    }
    std::erase_if(running, [&](const Running& one) {
      const bool done = one.tokens.size() >= 30;
      if (done) cache.free(one.id);
      finished += done;
      return done;
    });
  }
  EXPECT_GT(preempted, 0);
  EXPECT_GT(cache.stats().num_hit_tokens, 16 * 8);
  EXPECT_EQ(cache.stats().num_used, 0);
  cache.reset();
  EXPECT_EQ(cache.stats().num_free, 39);
}

TEST(KvUse, CppFaceThrowsTheSentence) {
  Cache cache = Cache::single(8, 3);
  const auto prompt = run(20);
  EXPECT_EQ(cache.begin({1, prompt, "tenant", "lora"}), 0);
  EXPECT_FALSE(cache.grow(1, 20));
  EXPECT_TRUE(cache.grow(1, 16));
  EXPECT_EQ(cache.page_row(0, 1), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(cache.pages_for(0, 20, 20), 3);
  cache.commit(1, 16);
  EXPECT_EQ(cache.find({2, prompt, "tenant", "lora"}), 16);
  EXPECT_EQ(cache.find({2, prompt, "lora", "tenant"}), 0);
  EXPECT_EQ(cache.request(1).num_computed_tokens, 16);
  EXPECT_EQ(cache.page(0, 2).num_owners, 1);
  const std::vector<uint64_t> ids{1};
  EXPECT_EQ(cache.common_prefix(0, ids), 16);
  const uint64_t step = cache.step_begin();
  cache.free(1);
  EXPECT_EQ(cache.stats().num_fenced, 2);
  cache.step_done(step);
  EXPECT_EQ(cache.stats(0).num_cached, 2);
  try {
    cache.free(1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), PAGODA_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.what()).find("request 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace pagoda::test

// A cache with two groups and a request on its way, for tests that spoil one call at a time.
#pragma once

#include <gtest/gtest.h>
#include <pagoda/kv.h>

#include <array>
#include <numeric>
#include <string>
#include <vector>

namespace pagoda::test {

struct KvWorld {
  KvWorld() {
    groups[0].page_size = 8;
    groups[1].page_size = 4;
    groups[1].window = 6;
    groups[1].pool = 1;
    options.num_groups = 2;
    options.groups = groups.data();
    options.num_pools = 2;
    options.num_pages = num_pages.data();
    std::iota(tokens.begin(), tokens.end(), 0);
    request.id = 7;
    request.tokens = tokens.data();
    request.num_tokens = 20;
    extra.start = 3;
    extra.length = 2;
    extra.key = "image";
    extra.key_size = 5;
    step.num_reqs = 2;
    step.num_tokens = 8;
    step.ids = ids.data();
    step.query_start_loc = query_start_loc.data();
    step.seq_lens = seq_lens.data();
    step.page_table = page_table.data();
    step.page_table_stride = step.page_table_width = 4;
    step.slot_mapping = slots.data();
  }
  ~KvWorld() { pagoda_cache_destroy(cache); }
  KvWorld(const KvWorld&) = delete;
  KvWorld& operator=(const KvWorld&) = delete;

  pagoda_status create() { return pagoda_cache_create(&options, &cache); }
  pagoda_status begin() { return pagoda_cache_begin(cache, &request, &count); }

  // Request 7: 20 tokens known, 16 computed, pages for 20.
  void run() {
    ASSERT_EQ(create(), PAGODA_OK) << pagoda_last_error();
    ASSERT_EQ(begin(), PAGODA_OK) << pagoda_last_error();
    ASSERT_EQ(pagoda_cache_grow(cache, 7, 20), PAGODA_OK) << pagoda_last_error();
    ASSERT_EQ(pagoda_cache_commit(cache, 7, 16), PAGODA_OK) << pagoda_last_error();
    count = -5;
  }

  // All that can be seen of the cache.
  std::vector<int64_t> look() const {
    std::vector<int64_t> seen;
    for (int32_t pool : {0, 1}) {
      pagoda_cache_stats stats = PAGODA_INIT(pagoda_cache_stats);
      EXPECT_EQ(pagoda_cache_get_stats(cache, pool, &stats), PAGODA_OK);
      for (int64_t value : {int64_t{stats.num_requests}, stats.num_used, stats.num_shared,
                            stats.num_cached, stats.num_free, stats.num_fenced, stats.num_evictions,
                            stats.num_queries, stats.num_query_tokens, stats.num_hit_tokens})
        seen.push_back(value);
      for (int64_t page = 0; page < num_pages[static_cast<size_t>(pool)]; ++page) {
        pagoda_cache_page_info info = PAGODA_INIT(pagoda_cache_page_info);
        EXPECT_EQ(pagoda_cache_get_page(cache, pool, page, &info), PAGODA_OK);
        for (int64_t value : {int64_t{info.state}, int64_t{info.num_owners}, int64_t{info.has_key},
                              int64_t{info.group}})
          seen.push_back(value);
      }
    }
    pagoda_cache_request_info info = PAGODA_INIT(pagoda_cache_request_info);
    if (pagoda_cache_get_request(cache, 7, &info) == PAGODA_OK)
      for (int32_t value :
           {info.num_tokens, info.num_computed_tokens, info.num_cached_tokens, info.capacity})
        seen.push_back(value);
    seen.insert(seen.end(), page_table.begin(), page_table.end());
    seen.insert(seen.end(), slots.begin(), slots.end());
    return seen;
  }

  std::array<pagoda_cache_group, 2> groups{PAGODA_INIT(pagoda_cache_group),
                                           PAGODA_INIT(pagoda_cache_group)};
  std::array<int64_t, 2> num_pages{10, 12};
  pagoda_cache_options options = PAGODA_INIT(pagoda_cache_options);
  std::array<int32_t, 20> tokens;
  pagoda_cache_extra extra = PAGODA_INIT(pagoda_cache_extra);
  pagoda_cache_request request = PAGODA_INIT(pagoda_cache_request);
  pagoda_cache* cache = nullptr;
  int32_t count = -5;
  std::array<uint64_t, 2> ids{7, 0};
  std::array<int32_t, 3> query_start_loc{0, 4, 4};
  std::array<int32_t, 2> seq_lens{20, 0};
  std::array<int32_t, 8> page_table{-9, -9, -9, -9, -9, -9, -9, -9};
  std::array<int64_t, 8> slots{-9, -9, -9, -9, -9, -9, -9, -9};
  pagoda_cache_step step = PAGODA_INIT(pagoda_cache_step);
};

}  // namespace pagoda::test

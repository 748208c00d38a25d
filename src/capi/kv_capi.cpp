// kv.h in terms of src/kv.
#include <pagoda/kv.h>

#include <memory>

#include "../kv/cache_manager.h"
#include "../kv/step_arrays.h"
#include "guard.h"
#include "kv_read.h"

using namespace pagoda;
using namespace pagoda::capi;

struct pagoda_cache {
  CacheManager manager;
};

namespace {

template <class Cache>
auto& manager_of(Cache* cache) {
  expect(cache != nullptr, PAGODA_INVALID_ARGUMENT, "cache is NULL");
  return cache->manager;
}

void expect_count(int32_t count, const char* name) {
  expect(count >= 0, PAGODA_INVALID_ARGUMENT, name, " is ", count, "; it is not below 0");
}

void expect_array(const void* data, int32_t count, const char* name) {
  expect(count >= 0, PAGODA_INVALID_ARGUMENT, name, " has ", count, " entries; not below 0");
  expect(count == 0 || data != nullptr, PAGODA_INVALID_ARGUMENT, name, " is NULL, but has ", count,
         " entries");
}

void add_counts(const PagePool& pool, pagoda_cache_stats& stats) {
  const PoolCounts& counts = pool.counts();
  stats.num_pages += pool.num_pages();
  stats.num_used += counts.used;
  stats.num_shared += counts.shared;
  stats.num_cached += counts.cached;
  stats.num_free += counts.free;
  stats.num_fenced += counts.fenced;
  stats.max_used += counts.max_used;
  stats.num_evictions += counts.evictions;
}

pagoda_cache_stats stats_of(const CacheManager& manager, int32_t pool) {
  pagoda_cache_stats stats{};
  if (pool == -1)
    for (int32_t p = 0; p < manager.num_pools(); ++p) add_counts(manager.pool(p), stats);
  else
    add_counts(manager.pool(pool), stats);
  stats.num_requests = manager.num_requests();
  stats.num_queries = manager.lookups().queries;
  stats.num_query_tokens = manager.lookups().query_tokens;
  stats.num_hit_tokens = manager.lookups().hit_tokens;
  return stats;
}

}  // namespace

pagoda_status pagoda_cache_create(const pagoda_cache_options* options, pagoda_cache** out) {
  return guard([&] {
    expect_out(out, "out");
    *out = nullptr;
    *out = new pagoda_cache{CacheManager(read_settings(options))};
  });
}

void pagoda_cache_destroy(pagoda_cache* cache) {
  delete cache;
}

pagoda_status pagoda_cache_reset(pagoda_cache* cache) {
  return guard([&] { manager_of(cache).reset(); });
}

pagoda_status pagoda_cache_begin(pagoda_cache* cache, const pagoda_cache_request* request,
                                 int32_t* num_cached_tokens) {
  return guard([&] {
    CacheManager& manager = manager_of(cache);
    expect_out(num_cached_tokens, "num_cached_tokens");
    *num_cached_tokens = manager.begin(read_prompt(request, manager.keeps_tokens()));
  });
}

pagoda_status pagoda_cache_find(pagoda_cache* cache, const pagoda_cache_request* request,
                                int32_t* num_cached_tokens) {
  return guard([&] {
    CacheManager& manager = manager_of(cache);
    expect_out(num_cached_tokens, "num_cached_tokens");
    *num_cached_tokens = manager.find(read_prompt(request, manager.keeps_tokens()));
  });
}

pagoda_status pagoda_cache_grow(pagoda_cache* cache, uint64_t id, int32_t num_tokens) {
  return guard([&] {
    CacheManager& manager = manager_of(cache);
    expect_count(num_tokens, "num_tokens");
    manager.grow(id, num_tokens);
  });
}

pagoda_status pagoda_cache_shrink(pagoda_cache* cache, uint64_t id, int32_t num_tokens) {
  return guard([&] {
    CacheManager& manager = manager_of(cache);
    expect_count(num_tokens, "num_tokens");
    manager.shrink(id, num_tokens);
  });
}

pagoda_status pagoda_cache_append(pagoda_cache* cache, uint64_t id, const int32_t* tokens,
                                  int32_t num_tokens) {
  return guard([&] {
    CacheManager& manager = manager_of(cache);
    expect_count(num_tokens, "num_tokens");
    if (manager.request(id).sharing) expect_array(tokens, num_tokens, "tokens");
    manager.append(id, tokens, num_tokens);
  });
}

pagoda_status pagoda_cache_commit(pagoda_cache* cache, uint64_t id, int32_t num_computed_tokens) {
  return guard([&] { manager_of(cache).commit(id, num_computed_tokens); });
}

pagoda_status pagoda_cache_free(pagoda_cache* cache, uint64_t id) {
  return guard([&] { manager_of(cache).free(id); });
}

pagoda_status pagoda_cache_get_request(const pagoda_cache* cache, uint64_t id,
                                       pagoda_cache_request_info* info) {
  return guard([&] {
    const Request& request = manager_of(cache).request(id);
    pagoda_cache_request_info own{};
    own.num_tokens = request.num_tokens;
    own.num_computed_tokens = request.num_computed;
    own.num_cached_tokens = request.num_cached;
    own.capacity = request.capacity;
    write_struct(info, own, "pagoda_cache_request_info");
  });
}

pagoda_status pagoda_cache_page_row(const pagoda_cache* cache, int32_t group, uint64_t id,
                                    int32_t first, int32_t* row, int32_t capacity, int32_t* count) {
  return guard([&] {
    const CacheManager& manager = manager_of(cache);
    const PageLayout& layout = manager.group(group).layout;
    const auto pages = manager.request(id).groups[static_cast<size_t>(group)].row.pages();
    const int32_t columns = num_columns(layout, pages);
    expect_out(count, "count");
    expect(first >= 0 && first <= columns, PAGODA_INVALID_ARGUMENT, "first is ", first,
           "; the row has ", columns, " columns");
    expect_array(row, capacity, "row");
    const int32_t wanted = columns - first;
    expect(row == nullptr || wanted <= capacity, PAGODA_OUT_OF_LIMITS, "the row has ", wanted,
           " columns from ", first, " on, but there is room for ", capacity);
    if (row != nullptr) write_columns(layout, pages, first, {row, static_cast<size_t>(wanted)});
    *count = columns;
  });
}

pagoda_status pagoda_cache_slots(const pagoda_cache* cache, int32_t group, uint64_t id,
                                 int32_t first_position, int32_t num_tokens, int64_t* slots) {
  return guard([&] {
    const CacheManager& manager = manager_of(cache);
    expect_array(slots, num_tokens, "slots");
    fill_slots(manager, group, id, first_position, {slots, static_cast<size_t>(num_tokens)});
  });
}

pagoda_status pagoda_cache_fill(const pagoda_cache* cache, int32_t group,
                                const pagoda_cache_step* step) {
  return guard([&] {
    const CacheManager& manager = manager_of(cache);
    const pagoda_cache_step own = read_struct(step, "pagoda_cache_step");
    expect_count(own.num_tokens, "step.num_tokens");
    expect_array(own.ids, own.num_reqs, "ids");
    expect_array(own.seq_lens, own.num_reqs, "seq_lens");
    expect_out(own.query_start_loc, "query_start_loc");
    fill_step(manager, group, own);
  });
}

pagoda_status pagoda_cache_common_prefix(const pagoda_cache* cache, int32_t group,
                                         const uint64_t* ids, int32_t num_ids,
                                         int32_t* num_tokens) {
  return guard([&] {
    const CacheManager& manager = manager_of(cache);
    expect_array(ids, num_ids, "ids");
    expect_out(num_tokens, "num_tokens");
    *num_tokens = manager.common_prefix(group, {ids, static_cast<size_t>(num_ids)});
  });
}

pagoda_status pagoda_cache_step_begin(pagoda_cache* cache, uint64_t* step) {
  return guard([&] {
    CacheManager& manager = manager_of(cache);
    expect_out(step, "step");
    *step = manager.step_begin();
  });
}

pagoda_status pagoda_cache_step_done(pagoda_cache* cache, uint64_t step) {
  return guard([&] { manager_of(cache).step_done(step); });
}

pagoda_status pagoda_cache_get_stats(const pagoda_cache* cache, int32_t pool,
                                     pagoda_cache_stats* stats) {
  return guard(
      [&] { write_struct(stats, stats_of(manager_of(cache), pool), "pagoda_cache_stats"); });
}

pagoda_status pagoda_cache_get_page(const pagoda_cache* cache, int32_t pool, int64_t page,
                                    pagoda_cache_page_info* info) {
  return guard([&] {
    const PagePool& pages = manager_of(cache).pool(pool);
    expect(page >= 0 && page < pages.num_pages(), PAGODA_INVALID_ARGUMENT, "page is ", page,
           "; pool ", pool, " has ", pages.num_pages());
    const auto id = static_cast<int32_t>(page);
    pagoda_cache_page_info own{};
    own.state = pages.state(id);
    own.num_owners = pages.num_holders(id);
    own.has_key = pages.has_key(id) ? 1 : 0;
    own.group = pages.owner(id).group;
    own.owner = pages.owner(id).request;
    write_struct(info, own, "pagoda_cache_page_info");
  });
}

pagoda_status pagoda_cache_pages_for(const pagoda_cache* cache, int32_t pool, int32_t num_tokens,
                                     int32_t max_query_len, int64_t* num_pages) {
  return guard([&] {
    const CacheManager& manager = manager_of(cache);
    expect_out(num_pages, "num_pages");
    expect_count(num_tokens, "num_tokens");
    expect_count(max_query_len, "max_query_len");
    *num_pages = manager.pages_for(pool, num_tokens, max_query_len);
  });
}

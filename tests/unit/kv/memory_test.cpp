// Memory of the cache: none is taken in steady state, and a call that cannot have any changes
// nothing.
#include <malloc.h>

#include <array>
#include <pagoda/kv.hpp>

#include "cache_world.h"
#include "counting_new.h"
#include "src/kv/step_arrays.h"

namespace pagoda::test {
namespace {

constexpr int32_t kRequests = 64, kTokens = 512;

// Every request from its prompt through many steps to its end, `rounds` times.
void serve_all(World& world, const Tokens& prompt, int rounds) {
  std::array<int64_t, 1> slot;
  for (int round = 0; round < rounds; ++round) {
    for (uint64_t id = 1; id <= kRequests; ++id) {
      world.enter(id, prompt);
      world.compute(id);
    }
    for (int32_t length = 101; length <= kTokens; ++length)
      for (uint64_t id = 1; id <= kRequests; ++id) {
        const auto token = static_cast<int32_t>(id) + round;
        world.append(id, &token, 1);
        world.grow(id, length);
        fill_slots(world, 0, id, length - 1, slot);
        fill_slots(world, 1, id, length - 1, slot);
        world.commit(id, length);
      }
    for (uint64_t id = 1; id <= kRequests; ++id) world.free(id);
  }
}

// libcrypto takes memory from malloc, so that is looked at too.
TEST(Memory, NoneIsTakenInSteadyState) {
  CacheSettings own = settings({full(16, 0), windowed(16, 40, 1)}, {3000, 1000});
  own.max_reqs = kRequests;
  own.max_seq_len = kTokens;
  World world(std::move(own));
  const Tokens prompt = run(100);
  const int64_t before = num_allocations();
  const struct mallinfo2 heap_before = mallinfo2();
  serve_all(world, prompt, 3);
  const int64_t after = num_allocations();
  const struct mallinfo2 heap_after = mallinfo2();
  EXPECT_EQ(after - before, 0);
  EXPECT_EQ(heap_after.uordblks, heap_before.uordblks);
  EXPECT_GT(world.pool(0).counts().evictions, 0);
  EXPECT_GT(world.lookups().hit_tokens, 0);
}

// What can be seen of a cache in numbers.
std::vector<int64_t> look(const Cache& cache, uint64_t id) {
  const CacheStats stats = cache.stats();
  std::vector<int64_t> seen{stats.num_requests, stats.num_used,      stats.num_shared,
                            stats.num_cached,   stats.num_free,      stats.num_evictions,
                            stats.num_queries,  stats.num_hit_tokens};
  pagoda_cache_request_info info = PAGODA_INIT(pagoda_cache_request_info);
  if (pagoda_cache_get_request(cache.get(), id, &info) == PAGODA_OK)
    for (int32_t value : {info.num_tokens, info.num_computed_tokens, info.capacity})
      seen.push_back(value);
  return seen;
}

// Calls until it works, with the first allocation failing, then the second, and so on.
template <class Call>
int64_t refuse_memory(const Cache& cache, uint64_t id, const Call& call) {
  for (int64_t allowed = 0;; ++allowed) {
    const std::vector<int64_t> before = look(cache, id);
    fail_allocation_after(allowed);
    const pagoda_status status = call();
    fail_allocation_after(-1);
    if (status == PAGODA_OK) return allowed;
    EXPECT_EQ(status, PAGODA_OUT_OF_MEMORY) << pagoda_last_error();
    EXPECT_EQ(look(cache, id), before) << "allocation " << allowed;
    if (::testing::Test::HasFailure()) return allowed;
  }
}

TEST(Memory, ACallWithoutMemoryChangesNothing) {
  Cache cache = Cache::single(4, 400);
  const Tokens prompt = run(600), more = run(300, 900);
  const std::string salt(100, 's');
  int64_t refused = 0;
  for (uint64_t id = 1; id <= 3; ++id) {
    int32_t cached = -1;
    const CacheRequest request(id, prompt, salt);
    const auto on = [&](const auto& call) { refused += refuse_memory(cache, id, call); };
    on([&] { return pagoda_cache_begin(cache.get(), &request, &cached); });
    EXPECT_EQ(cached, id == 1 ? 0 : 596);
    on([&] { return pagoda_cache_grow(cache.get(), id, 600); });
    on([&] { return pagoda_cache_commit(cache.get(), id, 600); });
    on([&] { return pagoda_cache_append(cache.get(), id, more.data(), 300); });
    on([&] { return pagoda_cache_grow(cache.get(), id, 900); });
    on([&] { return pagoda_cache_commit(cache.get(), id, 900); });
    if (id == 2) on([&] { return pagoda_cache_free(cache.get(), id); });
  }
  EXPECT_GT(refused, 30);
  cache.free(1);
  cache.free(3);
  EXPECT_EQ(cache.stats().num_used, 0);
  EXPECT_EQ(cache.stats().num_cached + cache.stats().num_free, 399);
}

TEST(Memory, CreationWithoutMemoryLeaksNothing) {
  CacheGroup group;
  group.page_size = 4;
  const int64_t num_pages = 100;
  CacheOptions options;
  options.num_groups = options.num_pools = 1;
  options.groups = &group;
  options.num_pages = &num_pages;
  options.max_reqs = 4;
  options.max_seq_len = 100;
  for (int64_t allowed = 0;; ++allowed) {
    pagoda_cache* cache = nullptr;
    fail_allocation_after(allowed);
    const pagoda_status status = pagoda_cache_create(&options, &cache);
    fail_allocation_after(-1);
    if (status == PAGODA_OK) {
      EXPECT_GT(allowed, 10);
      return pagoda_cache_destroy(cache);
    }
    ASSERT_EQ(status, PAGODA_OUT_OF_MEMORY) << pagoda_last_error();
    ASSERT_EQ(cache, nullptr);
  }
}

}  // namespace
}  // namespace pagoda::test

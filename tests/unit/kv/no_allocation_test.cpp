// A cache that was told its sizes takes no memory after its creation. Counts what operator new and,
// for libcrypto, malloc hand out.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "cache_world.h"
#include "src/kv/step_arrays.h"

namespace {
std::atomic<int64_t> allocations{0};
}

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

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

TEST(NoAllocation, InSteadyState) {
  CacheSettings own = settings({full(16, 0), windowed(16, 40, 1)}, {3000, 1000});
  own.max_reqs = kRequests;
  own.max_seq_len = kTokens;
  World world(std::move(own));
  const Tokens prompt = run(100);
  const int64_t before = allocations;
  const struct mallinfo2 heap_before = mallinfo2();
  serve_all(world, prompt, 3);
  const int64_t after = allocations;
  const struct mallinfo2 heap_after = mallinfo2();
  EXPECT_EQ(after - before, 0);
  EXPECT_EQ(heap_after.uordblks, heap_before.uordblks);
  EXPECT_GT(world.pool(0).counts().evictions, 0);
  EXPECT_GT(world.lookups().hit_tokens, 0);
}

}  // namespace
}  // namespace pagoda::test

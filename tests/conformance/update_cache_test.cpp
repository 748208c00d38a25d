// update_cache alone, over more tokens than the attention cases can afford: the bytes of each row
// in its slot, and no other byte of the cache, the inputs or what lies around them.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends.h"
#include "compare.h"

namespace pagoda::conformance {
namespace {

// As drawn, but every request writes all of its tokens, and there are many.
Geometry draw_writes(uint64_t seed) {
  Geometry g = draw_geometry(seed);
  Random random = stream_of(seed, 5);
  if (!g.has_cache()) g.page_size = 8 * random.between(1, 16);
  if (g.layout == Layout::call) g.layout = static_cast<Layout>(random.between(1, kNumLayouts - 1));
  g.writing = random.pick({Writing::updated, Writing::updated_with_holes});
  g.head_dim = std::min(g.head_dim, 128);
  g.head_dim_v = std::min(g.head_dim_v, 128);
  const int32_t len = random.weighted<int32_t>({{20, 60}, {300, 30}, {2000, 10}});
  for (Request& request : g.requests) {
    request.seq_len = random.between(0, len);
    request.query_len =
        random.chance(0.7) ? request.seq_len : random.between(0, request.seq_len + 2);
    request.shares_with = -1;
    request.shared_pages = 0;
  }
  return g;
}

void check(const Context& context, uint64_t cases, uint64_t first) {
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    const Geometry geometry = draw_writes(seed);
    const Values values = draw_values(geometry, seed);
    for (uint64_t fill : {uint64_t{0}, seed | 1}) {
      Step step(geometry, values, {.pages_seed = seed, .fill_seed = fill});
      ASSERT_EQ(step.update(context).complaint, "") << seed << ": " << describe(geometry);
    }
  }
}

TEST(UpdateCache, Reference) {
  Backends backends;
  check(backends.reference(), 200, 0);
}

TEST(UpdateCache, CpuOnEveryInstructionSetAndThreadCount) {
  Backends backends;
  for (const char* isa : kIsas)
    for (int32_t threads : {1, 2, 7}) {
      SCOPED_TRACE(std::string(isa) + " with threads " + std::to_string(threads));
      check(backends.cpu(isa, threads), 40, static_cast<uint64_t>(threads) * 1000);
    }
}

// Attention never writes the cache: Step compares its bytes after every forward of the other tests;
// here, that writing twice is writing once.
TEST(UpdateCache, TwiceIsOnce) {
  Backends backends;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Geometry geometry = draw_writes(seed);
    const Values values = draw_values(geometry, seed);
    Step step(geometry, values, {});
    ASSERT_EQ(step.update(backends.cpu(kIsas[1], 1)).complaint, "");
    ASSERT_EQ(step.update(backends.cpu(std::end(kIsas)[-1], 2)).complaint, "");
  }
}

}  // namespace
}  // namespace pagoda::conformance

// One group of layers: what is shared, when, and what a failed call leaves behind.
#include <algorithm>

#include "cache_world.h"

namespace pagoda::test {
namespace {

TEST(CacheManager, SharesPagesWithoutCopying) {
  World world({full(4)}, {100});
  EXPECT_EQ(world.enter(1, run(10)), 0);
  world.compute(1);
  EXPECT_EQ(world.enter(2, run(10)), 8);
  world.compute(2);
  EXPECT_EQ(world.row(1)[0], world.row(2)[0]);
  EXPECT_EQ(world.row(1)[1], world.row(2)[1]);
  EXPECT_NE(world.row(1)[2], world.row(2)[2]);  // not full, so each has its own
  EXPECT_EQ(world.pool(0).counts().shared, 2);
  EXPECT_EQ(world.pool(0).counts().used, 4);
  world.free(1);
  EXPECT_EQ(world.pool(0).counts().shared, 0);
  EXPECT_EQ(world.pool(0).counts().used, 3);
}

// Until a step has computed a page, another request would attend to what was there before.
TEST(CacheManager, OffersNoPageThatIsNotComputed) {
  World world({full(4)}, {100});
  world.enter(1, run(12));
  world.grow(1, 12);
  EXPECT_EQ(world.look(run(12)), 0);
  world.commit(1, 7);
  EXPECT_EQ(world.look(run(12)), 4);
  world.commit(1, 8);
  EXPECT_EQ(world.look(run(12)), 8);
}

// A step that verifies draft tokens takes pages for all of them and keeps those of the accepted.
TEST(CacheManager, TakesBackPagesOfRejectedDrafts) {
  World world({full(4), windowed(4, 6, 1)}, {20, 20});
  world.enter(1, run(7));
  world.compute(1);
  world.grow(1, 7 + 1 + 8);
  EXPECT_EQ(world.row(1).size(), 4u);
  const int32_t accepted[] = {7, 8, 9};
  world.append(1, accepted, 3);
  world.commit(1, 9);
  EXPECT_EQ(status_of([&] { world.shrink(1, 8); }), PAGODA_INVALID_ARGUMENT);
  world.shrink(1, 10);
  EXPECT_EQ(world.row(1).size(), 3u);
  EXPECT_EQ(world.request(1).capacity, 10);
  EXPECT_EQ(world.pool(0).counts().used, 3);
  world.shrink(1, 100);
  EXPECT_EQ(world.request(1).capacity, 10);
  EXPECT_EQ(world.look(run(30)), 8) << "a rejected token was offered to others";
  world.grow(1, 16);
  world.commit(1, 10);
  world.free(1);
  EXPECT_EQ(world.pool(0).counts().used, 0);
  EXPECT_EQ(world.pool(1).counts().used, 0);
}

TEST(CacheManager, LeavesATokenToCompute) {
  World world({full(4)}, {100});
  world.serve(1, run(8));
  EXPECT_EQ(world.look(run(8)), 4);
  EXPECT_EQ(world.look(run(9)), 8);
  EXPECT_EQ(world.look(run(1)), 0);
  EXPECT_EQ(world.look(run(4)), 0);
}

TEST(CacheManager, OffersGeneratedTokens) {
  World world({full(4)}, {100});
  world.enter(1, run(3));
  world.compute(1);
  for (int32_t token = 3; token < 9; ++token) {
    world.append(1, &token, 1);
    world.compute(1);
  }
  world.free(1);
  EXPECT_EQ(world.look(run(20)), 8);
}

TEST(CacheManager, StopsAtTheFirstDifference) {
  World world({full(4)}, {100});
  world.serve(1, run(16));
  for (size_t at : {0, 3, 4, 11, 12, 15}) {
    Tokens other = run(17);
    other[at] = -5;
    EXPECT_EQ(world.look(other), static_cast<int32_t>(at / 4 * 4)) << at;
  }
}

TEST(CacheManager, KeepsTenantsAdaptersAndImagesApart) {
  World world({full(4)}, {100});
  const Domain blue{.salt = bytes("blue")};
  const Domain image{.extras = {{5, 2, bytes("cat")}}};
  world.serve(1, run(12), blue);
  EXPECT_EQ(world.look(run(12), blue), 8);
  EXPECT_EQ(world.look(run(12)), 0);
  EXPECT_EQ(world.look(run(12), {.salt = bytes("green")}), 0);
  EXPECT_EQ(world.look(run(12), {.adapter = bytes("blue")}), 0);
  EXPECT_EQ(world.look(run(12), {.salt = bytes("blue"), .adapter = bytes("blue")}), 0);
  world.serve(2, run(12), image);
  EXPECT_EQ(world.look(run(12), image), 8);
  EXPECT_EQ(world.look(run(12), {.extras = {{5, 2, bytes("dog")}}}), 4);
  EXPECT_EQ(world.look(run(12)), 4);  // the page before the image
}

TEST(CacheManager, ARequestCanStayApart) {
  World world({full(4)}, {100});
  world.serve(1, run(12));
  const Prompt alone{.id = 2, .num_tokens = 12, .sharing = false};
  EXPECT_EQ(world.begin(alone), 0);
  world.compute(2);
  world.free(2);
  EXPECT_EQ(world.pool(0).counts().cached, 3);  // of request 1
}

TEST(CacheManager, WithoutPrefixCacheNothingIsKept) {
  CacheSettings own = settings({full(4)}, {100});
  own.prefix_cache = false;
  World world(std::move(own));
  EXPECT_EQ(world.serve(1, run(12)), 0);
  EXPECT_EQ(world.serve(2, run(12)), 0);
  EXPECT_EQ(world.pool(0).counts().cached, 0);
  EXPECT_EQ(world.pool(0).counts().free, 99);
}

TEST(CacheManager, EvictsOldPrefixesFromTheirEnd) {
  World world({full(4)}, {9});
  world.serve(1, run(16));                    // 4 pages
  world.serve(2, run(16, 100));               // 4 pages: all 8 are cached
  EXPECT_EQ(world.serve(3, run(8, 200)), 0);  // evicts the last two of request 1
  EXPECT_EQ(world.look(run(17)), 8);
  EXPECT_EQ(world.look(run(17, 100)), 16);
  EXPECT_EQ(world.pool(0).counts().evictions, 2);
}

TEST(CacheManager, TakesAllOrNothing) {
  World world({full(4)}, {6});
  world.enter(1, run(30));
  world.grow(1, 12);
  const Tokens before = world.row(1);
  EXPECT_EQ(status_of([&] { world.grow(1, 24); }), PAGODA_OUT_OF_PAGES);
  EXPECT_EQ(world.row(1), before);
  EXPECT_EQ(world.request(1).capacity, 12);
  EXPECT_EQ(world.pool(0).num_available(), 2);
  world.grow(1, 20);
  EXPECT_EQ(world.pool(0).num_available(), 0);
}

// The second pool is too small: the first must not have given anything.
TEST(CacheManager, TakesFromAllPoolsOrNone) {
  World world({full(4, 0), full(4, 1), full(4, 0)}, {100, 3});
  world.enter(1, run(40));
  EXPECT_EQ(status_of([&] { world.grow(1, 12); }), PAGODA_OUT_OF_PAGES);
  EXPECT_EQ(world.pool(0).counts().used, 0);
  EXPECT_EQ(world.pool(1).counts().used, 0);
  for (size_t g = 0; g < 3; ++g) EXPECT_TRUE(world.row(1, g).empty());
  world.grow(1, 8);
  EXPECT_EQ(world.pool(0).counts().used, 4);
  EXPECT_EQ(world.pool(1).counts().used, 2);
}

TEST(CacheManager, PreemptedRequestsComeBackToTheirPages) {
  World world({full(4)}, {20});
  world.enter(1, run(14));
  world.compute(1);
  world.free(1);
  EXPECT_EQ(world.enter(1, run(15)), 12);
}

TEST(CacheManager, RefusesCallsOutOfOrder) {
  World world({full(4)}, {20});
  world.enter(1, run(10));
  EXPECT_EQ(status_of([&] { world.enter(1, run(3)); }), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status_of([&] { world.commit(1, 1); }), PAGODA_INVALID_ARGUMENT);  // no pages yet
  world.grow(1, 12);
  EXPECT_EQ(status_of([&] { world.commit(1, 11); }), PAGODA_INVALID_ARGUMENT);  // not known yet
  world.commit(1, 10);
  EXPECT_EQ(status_of([&] { world.commit(1, 9); }), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status_of([&] { world.grow(2, 1); }), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status_of([&] { world.reset(); }), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status_of([&] { world.step_done(1); }), PAGODA_INVALID_ARGUMENT);
  world.free(1);
  EXPECT_EQ(status_of([&] { world.free(1); }), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(world.look(run(10)), 8);
  world.reset();
  EXPECT_EQ(world.look(run(10)), 0);
}

// Two requests compute one prefix at once: neither waits, and both copies can be found.
TEST(CacheManager, PermitsDuplicates) {
  World world({full(4)}, {20});
  world.enter(1, run(8));
  world.enter(2, run(8));
  world.compute(1);
  world.compute(2);
  EXPECT_NE(world.row(1), world.row(2));
  world.free(2);
  world.enter(3, run(9));
  world.enter(4, run(64, 100));
  world.grow(4, 4 * 15);  // takes what request 2 left, where it is not held
  EXPECT_EQ(world.look(run(9)), 8);
}

TEST(CacheManager, CommonPrefixIsWholeSharedPages) {
  World world({full(4)}, {50});
  world.enter(1, run(14));
  world.compute(1);
  Tokens fork = run(14);
  fork[9] = -1;
  world.enter(2, fork);
  world.compute(2);
  world.enter(3, run(14));
  const auto common = [&](std::vector<uint64_t> ids) { return world.common_prefix(0, ids); };
  EXPECT_EQ(common({1, 2}), 8);
  EXPECT_EQ(common({1, 3}), 12);
  EXPECT_EQ(common({1, 2, 3}), 8);
  EXPECT_EQ(common({1}), 12);
  EXPECT_EQ(common({}), 0);
  world.enter(4, run(14, 100));
  EXPECT_EQ(common({1, 4}), 0);
}

TEST(CacheManager, FreesWaitForStepsInFlight) {
  World world({full(4)}, {6});
  world.enter(1, run(20));
  world.compute(1);
  const uint64_t step = world.step_begin();
  world.free(1);
  world.enter(2, run(8, 100));
  EXPECT_EQ(status_of([&] { world.grow(2, 8); }), PAGODA_OUT_OF_PAGES);
  EXPECT_EQ(world.enter(3, run(20)), 16);  // what it held can still be found
  world.step_done(step);
  EXPECT_EQ(world.pool(0).num_available(), 1);
  world.grow(2, 4);
}

TEST(CacheManager, TellsWhatItStores) {
  struct Log {
    std::vector<Tokens> stored;
    std::vector<bool> has_parent;
    std::vector<int> kinds;
  } log;
  CacheSettings own = settings({full(4)}, {20});
  own.events = {[](void* user, const pagoda_cache_event* event) {
                  auto& to = *static_cast<Log*>(user);
                  to.kinds.push_back(event->kind);
                  if (event->kind != PAGODA_CACHE_STORED) return;
                  to.stored.emplace_back(event->tokens, event->tokens + event->num_tokens);
                  to.has_parent.push_back(event->parent != nullptr);
                  EXPECT_EQ(event->request, 5u);
                },
                &log};
  World world(std::move(own));
  world.serve(5, run(9));
  world.reset();
  EXPECT_EQ(log.stored, (std::vector<Tokens>{run(4), run(4, 4)}));
  EXPECT_EQ(log.has_parent, (std::vector<bool>{false, true}));
  EXPECT_EQ(log.kinds, (std::vector<int>{1, 1, 3}));
}

TEST(CacheManager, CountsLookups) {
  World world({full(4)}, {20});
  world.serve(1, run(10));
  world.look(run(10));
  world.serve(2, run(10));
  EXPECT_EQ(world.lookups().queries, 2);
  EXPECT_EQ(world.lookups().query_tokens, 20);
  EXPECT_EQ(world.lookups().hit_tokens, 8);
}

}  // namespace
}  // namespace pagoda::test

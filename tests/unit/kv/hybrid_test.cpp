// Several groups: windows, page sizes that differ, and the prefix on which all groups agree.
#include <algorithm>
#include <map>
#include <random>

#include "cache_world.h"
#include "src/kv/prefix_search.h"

namespace pagoda::test {
namespace {

// A token sees itself and window - 1 before it; pages that no later token sees are given back.
TEST(Hybrid, WindowGivesPagesBack) {
  World world({windowed(4, 6)}, {20});
  world.enter(1, run(40));
  for (int32_t computed = 1; computed <= 40; ++computed) {
    world.grow(1, computed);
    world.commit(1, computed);
    const Tokens row = world.row(1);
    for (int32_t page = 0; page < static_cast<int32_t>(row.size()); ++page) {
      const int32_t oldest_seen = computed - 6 + 1;  // by the next token, at position `computed`
      const bool seen = page * 4 + 3 >= oldest_seen;
      ASSERT_EQ(row[static_cast<size_t>(page)] != 0, seen) << computed << " page " << page;
    }
  }
  EXPECT_EQ(world.pool(0).counts().used, 2);
}

TEST(Hybrid, WindowNeedsOnlyItsLastPages) {
  // Window 6: a token at 16 sees 11 to 15, which is pages 2 and 3.
  World world({windowed(4, 6)}, {8});
  world.serve(1, run(16));
  EXPECT_EQ(world.enter(2, run(17)), 16);
  const Tokens row = world.row(2);
  EXPECT_EQ(row[0], 0);
  EXPECT_EQ(row[1], 0);
  EXPECT_NE(row[2], 0);
  EXPECT_NE(row[3], 0);
  EXPECT_EQ(world.pool(0).counts().used, 2);
}

TEST(Hybrid, WindowFallsBackToAnEarlierEnd) {
  PrefixHasher hasher(bytes("test"));
  std::vector<PagePool> pools;
  pools.emplace_back(100);
  const CacheShape shape = make_shape({windowed(4, 6)}, {100});
  std::vector<int32_t> pages(10);
  pools[0].take(pages, {});
  Request request{.tokens = run(40), .num_tokens = 40, .chains = std::vector<Chain>(1)};
  extend(request.chains[0], request, 4, 10, hasher);
  for (size_t i = 0; i < 10; ++i)
    if (i != 5 && i != 8) pools[0].publish(pages[i], page_key(request.chains[0].digests[i], 0));
  const auto found = [&](int32_t limit) {
    return find_prefix(shape, pools, request, limit, hasher);
  };
  EXPECT_EQ(found(40), 32);  // pages 6 and 7; 8 is absent
  EXPECT_EQ(found(31), 20);  // 28 needs 5 and 6, 24 needs 4 and 5, 20 needs 3 and 4
  EXPECT_EQ(found(4), 4);    // the window reaches the start
  EXPECT_EQ(found(3), 0);
}

TEST(Hybrid, WindowOfOneNeedsNoPages) {
  World world({windowed(4, 1)}, {20});
  EXPECT_EQ(world.enter(1, run(10)), 8);
  EXPECT_EQ(world.row(1), (Tokens{0, 0}));
  EXPECT_EQ(world.pool(0).counts().used, 0);
}

TEST(Hybrid, HitsAreMultiplesOfEveryPageSize) {
  World world({full(4, 0), full(6, 1)}, {50, 50});
  world.serve(1, run(40));
  EXPECT_EQ(world.look(run(41)), 36);
  EXPECT_EQ(world.look(run(36)), 24);
  EXPECT_EQ(world.look(run(12)), 0);
  EXPECT_EQ(world.look(run(13)), 12);
}

TEST(Hybrid, GroupsOfOnePoolHavePagesOfTheirOwn) {
  World world({full(4), windowed(4, 5)}, {50});
  world.enter(1, run(8));
  world.compute(1);
  for (int32_t page : world.row(1, 0))
    for (int32_t other : world.row(1, 1)) EXPECT_NE(page, other);
  EXPECT_EQ(world.enter(2, run(9)), 8);
  EXPECT_EQ(world.row(2, 0), world.row(1, 0));
  EXPECT_EQ(world.row(2, 1), (Tokens{0, world.row(1, 1)[1]}));
}

// The whole-prefix group allows 24 of 40 tokens; the windowed one must then be asked again.
TEST(Hybrid, GroupsAgree) {
  World world({windowed(4, 6, 0), full(4, 1)}, {100, 9});
  world.serve(1, run(32));
  world.serve(2, run(8, 1000));  // evicts the last two of request 1 in pool 1
  EXPECT_EQ(world.look(run(41)), 24);
  EXPECT_EQ(world.enter(3, run(41)), 24);
  EXPECT_EQ(world.row(3, 1).size(), 6u);
  const Tokens window_row = world.row(3, 0);
  EXPECT_EQ(window_row.size(), 6u);
  EXPECT_EQ(std::count(window_row.begin(), window_row.end(), 0), 4);
}

TEST(Hybrid, RanksSpreadAPage) {
  Group group = full(4);
  group.layout.num_ranks = 2;
  World world({group}, {20});
  world.enter(1, run(17));
  world.grow(1, 17);
  EXPECT_EQ(world.row(1).size(), 3u);  // of 8 tokens each
  world.commit(1, 17);
  EXPECT_EQ(world.look(run(17)), 16);
  EXPECT_EQ(world.look(run(16)), 8);
}

TEST(Hybrid, PagesForBoundsWhatIsHeld) {
  for (int32_t window : {1, 2, 5, 8, 9, 16, 100})
    for (int32_t chunk : {1, 3, 4, 7, 30}) {
      World world({full(4, 0), windowed(4, window, 1)}, {100, 100});
      world.enter(1, run(60));
      for (int32_t computed = 0; computed < 60;) {
        computed = std::min(60, computed + chunk);
        world.grow(1, computed);
        ASSERT_LE(world.pool(0).counts().used, world.pages_for(0, 60, chunk));
        ASSERT_LE(world.pool(1).counts().used, world.pages_for(1, 60, chunk))
            << "window " << window << " chunk " << chunk;
        world.commit(1, computed);
      }
      EXPECT_EQ(world.pool(0).counts().max_used, world.pages_for(0, 60, chunk));
      EXPECT_GE(world.pool(1).counts().max_used, world.pages_for(1, 60, chunk) - 1);
    }
}

TEST(Hybrid, RefusesShapesThatCannotBe) {
  const auto make = [](Group group, std::vector<int64_t> pages = {10}) {
    return status_of([&] { make_shape({group}, std::move(pages)); });
  };
  Group ranks = windowed(4, 8);
  ranks.layout.num_ranks = 2;
  EXPECT_EQ(make(ranks), PAGODA_UNSUPPORTED);
  EXPECT_EQ(make(full(0)), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(make(full(-4)), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(make(windowed(4, -1)), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(make(full(4, 1)), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(make(full(4, -1)), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(make(full(4), {}), PAGODA_INVALID_ARGUMENT);
  Group kernel = full(12);
  kernel.layout.kernel_pages = 5;
  EXPECT_EQ(make(kernel), PAGODA_INVALID_ARGUMENT);
  kernel.layout.kernel_pages = 4;
  EXPECT_EQ(make(kernel), PAGODA_OK);
  EXPECT_EQ(make(kernel, {INT32_MAX / 2}), PAGODA_INVALID_ARGUMENT);
  Group interleave = full(12);
  interleave.layout.num_ranks = 2;
  interleave.layout.interleave = 5;
  EXPECT_EQ(make(interleave), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(status_of([] { make_shape({}, {10}); }), PAGODA_INVALID_ARGUMENT);
  Group a = full(4), b = full(4);
  a.page_bytes = 100;
  b.page_bytes = 200;
  EXPECT_EQ(status_of([&] { make_shape({a, b}, {10}); }), PAGODA_INVALID_ARGUMENT);
  b.pool = 1;
  EXPECT_EQ(status_of([&] { make_shape({a, b}, {10, 10}); }), PAGODA_OK);
}

// Random groups and random holes in what is cached, against the definition: the longest aligned
// prefix whose needed pages are all there in every group.
TEST(Hybrid, SearchAgreesWithItsDefinition) {
  std::mt19937 random(11);
  const auto draw = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  std::map<int32_t, int> found_lengths;
  for (int round = 0; round < 3000; ++round) {
    std::vector<Group> groups;
    std::vector<int64_t> sizes;
    for (int32_t g = 0, count = draw(1, 3); g < count; ++g) {
      const int32_t page_size = draw(1, 4);
      groups.push_back(draw(0, 1) == 0 ? full(page_size, g) : windowed(page_size, draw(1, 12), g));
      sizes.push_back(64);
    }
    const CacheShape shape = make_shape(groups, sizes);
    PrefixHasher hasher(bytes("test"));
    Request request{.tokens = run(40),
                    .num_tokens = 40,
                    .chains = std::vector<Chain>(shape.chain_spans.size())};
    std::vector<PagePool> pools;
    std::vector<std::vector<bool>> present;
    const int32_t percent = draw(50, 100);
    for (size_t g = 0; g < shape.groups.size(); ++g) {
      const Group& group = shape.groups[g];
      Chain& chain = request.chains[static_cast<size_t>(group.chain)];
      const int32_t count = 40 / group.layout.span();
      extend(chain, request, group.layout.span(), count, hasher);
      std::vector<int32_t> pages(static_cast<size_t>(count));
      pools.emplace_back(64).take(pages, {});
      auto& there = present.emplace_back();
      for (size_t i = 0; i < pages.size(); ++i) {
        there.push_back(draw(1, 100) <= percent);
        if (there[i])
          pools[g].publish(pages[i], page_key(chain.digests[i], static_cast<int32_t>(g)));
      }
    }
    const auto usable = [&](int32_t end) {
      for (size_t g = 0; g < shape.groups.size(); ++g) {
        const int32_t span = shape.groups[g].layout.span(), window = shape.groups[g].window;
        const int32_t oldest = window == 0 ? 0 : std::max(0, end - window + 1);
        for (int32_t position = oldest; position < end; ++position)
          if (!present[g][static_cast<size_t>(position / span)]) return false;
      }
      return true;
    };
    const int32_t limit = draw(0, 40);
    int32_t want = limit - limit % shape.alignment;
    while (want > 0 && !usable(want)) want -= shape.alignment;
    ASSERT_EQ(find_prefix(shape, pools, request, limit, hasher), want) << "round " << round;
    ++found_lengths[want];
  }
  EXPECT_GT(found_lengths.size(), 20u);  // the draw is not degenerate
}

}  // namespace
}  // namespace pagoda::test

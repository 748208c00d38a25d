// Groups of requests with the same first pages: what is found, against a plain comparison of all
// pairs; what is left alone; and that the order of the requests does not matter.
#include "src/plan/cascade.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace pagoda {
namespace {

constexpr int32_t kPage = 16, kUnit = 64, kWidth = 64;

struct Request {
  int32_t query_len, seq_len;
  std::vector<int32_t> pages;
  uint8_t causal = 1;
};

// What a group is, whatever the order of requests or nodes.
struct Found {
  std::set<int32_t> reqs;
  int32_t key_begin, key_end, level;
  auto operator<=>(const Found&) const = default;
};

struct World {
  std::vector<Request> requests;
  PrefixRules rules{.page_size = kPage,
                    .unit = kUnit,
                    .splits = {.unit = 64, .automatic = 512},
                    .max_query_len = INT32_MAX,
                    .max_tokens = INT32_MAX,
                    .forced = true};
  std::vector<int32_t> starts{0}, lens, table, order, deepest;
  std::vector<uint8_t> causal;
  std::vector<SharedPrefix> nodes;
  std::vector<PendingPrefix> pending;

  // `names[i]` is what request i is called in the answer.
  std::set<Found> find(PrefixForest& forest, const std::vector<int32_t>& names) {
    const size_t n = requests.size();
    starts = {0};
    lens.clear(), table.clear(), causal.clear();
    for (const Request& request : requests) {
      starts.push_back(starts.back() + request.query_len);
      lens.push_back(request.seq_len);
      causal.push_back(request.causal);
      const int32_t keys = local_len(rules.shard, request.seq_len);
      const auto used = static_cast<size_t>((keys + kPage - 1) / kPage);
      for (size_t i = 0; i < kWidth; ++i)  // entries behind the pages in use are never read
        table.push_back(i < used ? request.pages[i] : 7);
    }
    order.assign(n, -9), deepest.assign(n, -9);
    nodes.assign(n, {}), pending.assign(n, {});
    forest = find_shared_prefixes({.num_reqs = static_cast<int32_t>(n),
                                   .query_start_loc = starts.data(),
                                   .seq_lens = lens.data(),
                                   .page_table = table.data(),
                                   .page_table_stride = kWidth,
                                   .causal = causal.data()},
                                  rules,
                                  {.order = order.data(),
                                   .deepest = deepest.data(),
                                   .nodes = nodes.data(),
                                   .pending = pending.data()});
    std::set<Found> found;
    for (int32_t i = 0; i < forest.num_nodes; ++i) {
      const SharedPrefix& node = nodes[static_cast<size_t>(i)];
      Found it{{}, node.key_begin, node.key_end, node.level};
      for (int32_t k = 0; k < node.num_reqs; ++k)
        it.reqs.insert(names[static_cast<size_t>(order[static_cast<size_t>(node.first_req + k)])]);
      found.insert(it);
    }
    return found;
  }

  std::set<Found> find() {
    PrefixForest forest;
    return find(forest);
  }
  std::set<Found> find(PrefixForest& forest) {
    std::vector<int32_t> names(requests.size());
    std::iota(names.begin(), names.end(), 0);
    return find(forest, names);
  }
};

std::vector<int32_t> pages(int32_t first, int32_t count) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), first);
  return all;
}

std::vector<int32_t> operator+(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// 8 pages of A, B, C; 4 more of A and B; then each its own.
World three() {
  World world;
  const auto common = pages(100, 8), more = pages(200, 4);
  world.requests = {{1, 300, common + more + pages(300, 10)},
                    {1, 250, common + pages(400, 10)},
                    {1, 290, common + more + pages(500, 10)}};
  return world;
}

TEST(SharedPrefixes, FormATreeOfGroups) {
  World world = three();
  PrefixForest forest;
  EXPECT_EQ(world.find(forest), (std::set<Found>{{{0, 1, 2}, 0, 128, 0}, {{0, 2}, 128, 192, 1}}));
  EXPECT_EQ(forest.num_levels, 2);
  EXPECT_EQ(forest.num_reqs, 3);
  EXPECT_EQ(forest.num_tokens, 3);
  EXPECT_EQ(forest.num_listed, 5);
  EXPECT_EQ(world.deepest[1], 0);
  EXPECT_EQ(world.deepest[0], 1);
}

TEST(SharedPrefixes, EndAtWholeUnitsOfTheShortestRequest) {
  World world = three();
  world.requests[0].pages = world.requests[2].pages = pages(100, 20);
  world.requests[1] = {1, 100, pages(100, 20)};  // shorter than what the others share
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 1, 2}, 0, 64, 0}, {{0, 2}, 64, 256, 1}}));
  world.requests[1].seq_len = 63;  // no unit at all
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 2}, 0, 256, 0}}));
}

TEST(SharedPrefixes, HoldOnlyRequestsThatCutTheirKeysAlikeAndLookAlike) {
  World world = three();
  world.requests[2].causal = 0;
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 1}, 0, 128, 0}}));
  world = three();
  world.rules.splits.num_splits = 2;  // 192, 128, 192 keys in a split
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 2}, 0, 192, 0}}));
}

TEST(SharedPrefixes, EndWhereSplitsDoIfAsked) {
  World world = three();
  world.rules.whole_splits = true;
  world.rules.splits.automatic = 128;  // of 128 and 192 keys in common
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 1, 2}, 0, 128, 0}}));
  world.rules.splits.automatic = 192;
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 2}, 0, 192, 0}}));
  world.rules.splits.automatic = 512;
  EXPECT_TRUE(world.find().empty());
}

TEST(SharedPrefixes, LeaveOutWhoHasNoQueriesOrTooMany) {
  World world = three();
  world.requests[1].query_len = 0;
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 2}, 0, 192, 0}}));
  world.requests[1].query_len = 5;
  world.rules.max_query_len = 4;
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 2}, 0, 192, 0}}));
}

TEST(SharedPrefixes, StayWithinTheTokensAndLevelsThatThereIsRoomFor) {
  World world = three();
  world.rules.max_levels = 1;
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 1, 2}, 0, 128, 0}}));
  world.rules.max_levels = 8;
  world.rules.max_tokens = 2;  // not for three, but for two
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 2}, 0, 192, 0}}));
}

// A group of keys that no query sees would only cost.
TEST(SharedPrefixes, AreNotMadeOfKeysBehindEveryWindow) {
  World world = three();
  world.rules.mask.window_left = 20;
  EXPECT_TRUE(world.find().empty());
  world.rules.mask.window_left = 130;  // queries at 249, 289, 299 see from 119
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 1, 2}, 0, 128, 0}, {{0, 2}, 128, 192, 1}}));
}

TEST(SharedPrefixes, CountKeysAsARankKeepsThem) {
  World world = three();
  for (Request& request : world.requests) request.seq_len *= 2;
  world.rules.shard = {.rank = 1, .num_ranks = 2, .interleave = 16};
  EXPECT_EQ(world.find(), (std::set<Found>{{{0, 1, 2}, 0, 128, 0}, {{0, 2}, 128, 192, 1}}));
}

// Requests that branch off one after the other.
World comb(int32_t count) {
  World world;
  for (int32_t i = 0; i < count; ++i)
    world.requests.push_back(
        {1, kPage * kWidth,
         pages(100, std::min(4 * (i + 1), kWidth)) + pages(1000 * (i + 1), kWidth)});
  return world;
}

TEST(SharedPrefixes, OfACombStopAtTheDeepestLevel) {
  World world = comb(14);
  PrefixForest forest;
  world.find(forest);
  EXPECT_EQ(forest.num_levels, 8);
  EXPECT_EQ(forest.num_nodes, 8);
  world.rules.max_levels = 100;
  world.find(forest);
  EXPECT_EQ(forest.num_nodes, 13);
}

// Every page is compared about once for each request that holds it.
TEST(SharedPrefixes, AreFoundInTimeLinearInThePages) {
  World world;
  for (int32_t i = 0; i < 200; ++i)
    world.requests.push_back({1, kPage * kWidth, pages(100, kWidth - 4) + pages(1000 + 4 * i, 4)});
  PrefixForest forest;
  world.find(forest);
  EXPECT_LE(forest.compared_pages, 200 * kWidth);
  world = comb(16);
  world.rules.max_levels = 100;
  world.find(forest);
  EXPECT_LE(forest.compared_pages, 16 * kWidth + 16 * 16);
}

World random_world(uint32_t seed) {
  std::mt19937 random(seed);
  const auto between = [&](int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random() % static_cast<uint32_t>(high - low + 1));
  };
  World world;
  const int32_t count = between(2, 24);
  for (int32_t i = 0; i < count; ++i) {
    std::vector<int32_t> own;
    if (i > 0 && between(0, 9) > 0) {
      own = world.requests[static_cast<size_t>(between(0, i - 1))].pages;
      own.resize(static_cast<size_t>(between(0, kWidth)));
    }
    own = own + pages(10000 + 100 * i, kWidth - static_cast<int32_t>(own.size()));
    world.requests.push_back(
        {between(0, 5), between(0, kPage * kWidth), own, static_cast<uint8_t>(between(0, 3) > 0)});
  }
  return world;
}

TEST(SharedPrefixes, DoNotDependOnTheOrderOfRequests) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    World world = random_world(seed), shuffled = world;
    PrefixForest forest;
    const std::set<Found> found = world.find(forest);
    std::vector<int32_t> names(world.requests.size());
    std::iota(names.begin(), names.end(), 0);
    std::shuffle(names.begin(), names.end(), std::mt19937(seed));
    for (size_t i = 0; i < names.size(); ++i)
      shuffled.requests[i] = world.requests[static_cast<size_t>(names[i])];
    ASSERT_EQ(shuffled.find(forest, names), found) << seed;
  }
}

// For every request, the keys of its groups are as many as it has in common with some other: the
// longest that a plain comparison of pairs finds.
TEST(SharedPrefixes, ReachAsFarAsAnyTwoRequestsShare) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    World world = random_world(seed);
    world.rules.max_levels = 1000;
    PrefixForest forest;
    const std::set<Found> found = world.find(forest);
    for (size_t a = 0; a < world.requests.size(); ++a) {
      int32_t longest = 0, grouped = 0;
      for (size_t b = 0; b < world.requests.size(); ++b) {
        const Request &x = world.requests[a], &y = world.requests[b];
        if (a == b || x.causal != y.causal || x.query_len == 0 || y.query_len == 0) continue;
        const auto same = static_cast<int32_t>(
            std::mismatch(x.pages.begin(), x.pages.end(), y.pages.begin(), y.pages.end()).first -
            x.pages.begin());
        const int32_t keys = std::min({same * kPage, x.seq_len, y.seq_len});
        longest = std::max(longest, keys / kUnit * kUnit);
      }
      for (const Found& it : found)
        if (it.reqs.count(static_cast<int32_t>(a)) != 0) grouped = std::max(grouped, it.key_end);
      // Queries of a causal request that has more of them than keys see none of the first ones.
      ASSERT_EQ(grouped, longest) << "seed " << seed << ", request " << a;
    }
  }
}

TEST(CascadePrices, TakeAGroupWhereReadingOnceIsCheaper) {
  World world = three();
  world.rules.forced = false;
  world.rules.key = {.elements = 256, .bytes = 512, .floats_of_state = 272};
  world.rules.prices = {.byte = 0.1,
                        .element = 0.06,
                        .product = 0.01,
                        .packed = 0.1,
                        .packed_product = 0.01,
                        .rows_in_place = 4,
                        .rows_of_pass = 384};
  PrefixForest forest;
  EXPECT_EQ(world.find(forest).size(), 2u);
  world.rules.prices.level = 1e9;
  EXPECT_TRUE(world.find(forest).empty());
  EXPECT_EQ(forest.num_refused, 2);
  EXPECT_EQ(forest.refused_keys, 192);
  EXPECT_EQ(forest.refused_reqs, 2);
}

TEST(CascadePrices, CountPackingOncePerPassAndMemoryOnceIfTheCacheHoldsIt) {
  PrefixRules rules;
  rules.key = {.elements = 10, .bytes = 20};
  rules.prices = {.byte = 1,
                  .element = 2,
                  .product = 3,
                  .packed = 5,
                  .packed_product = 7,
                  .cache_bytes = 1000,
                  .rows_in_place = 2,
                  .rows_of_pass = 4};
  EXPECT_EQ(price_of_rows(rules, 6, 2, false), 60 * (2 + 2 * 3));
  EXPECT_EQ(price_of_rows(rules, 6, 9, false), 60 * (3 * 5 + 9 * 7));
  rules.prices.byte = 100;
  EXPECT_EQ(price_of_rows(rules, 6, 9, true), 120 * 100);
  rules.prices.cache_bytes = 100;
  EXPECT_EQ(price_of_rows(rules, 6, 9, true), 3 * 120 * 100);
}

}  // namespace
}  // namespace pagoda

// The page pool: order of reuse, keys, holders, fences, events.
#include "src/kv/page_pool.h"

#include <gtest/gtest.h>

#include <vector>

#include "src/core/error.h"

namespace pagoda {
namespace {

PageKey key(uint8_t which, int32_t group = 0) {
  Digest digest{};
  digest[0] = which;
  return page_key(digest, group);
}

std::vector<int32_t> take(PagePool& pool, size_t count, PageOwner owner = {}) {
  std::vector<int32_t> pages(count);
  pool.take(pages, owner);
  return pages;
}

void release_all(PagePool& pool, const std::vector<int32_t>& pages) {
  for (size_t i = pages.size(); i-- > 0;) pool.release(pages[i]);
}

template <class Call>
pagoda_status status_of(const Call& call) {
  try {
    call();
    return PAGODA_OK;
  } catch (const Failure& failure) {
    return failure.status;
  }
}

TEST(PagePool, NeverGivesTheNullPage) {
  PagePool pool(5);
  EXPECT_EQ(take(pool, 4), (std::vector<int32_t>{1, 2, 3, 4}));
  EXPECT_EQ(pool.num_available(), 0);
  EXPECT_EQ(pool.state(0), PAGODA_PAGE_NULL);
}

TEST(PagePool, TakesAllOrNothing) {
  PagePool pool(5);
  take(pool, 2);
  std::vector<int32_t> three(3, -1);
  EXPECT_EQ(status_of([&] { pool.take(three, {}); }), PAGODA_OUT_OF_PAGES);
  EXPECT_EQ(three, std::vector<int32_t>(3, -1));
  EXPECT_EQ(pool.num_available(), 2);
  EXPECT_EQ(pool.counts().used, 2);
}

TEST(PagePool, RefusesSizesThatCannotBe) {
  for (int64_t size : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{1} << 31, INT64_MAX})
    EXPECT_EQ(status_of([&] { PagePool pool(size); }), PAGODA_INVALID_ARGUMENT) << size;
}

// Pages without content are taken first, then the cached ones in the order of their release; within
// one request the end goes first, because a prefix is of use without its end.
TEST(PagePool, EvictsTheLeastRecentlyUsedTailFirst) {
  PagePool pool(8);
  const auto early = take(pool, 3);  // 1 2 3
  const auto late = take(pool, 2);   // 4 5
  for (int32_t page : {1, 2, 3, 4, 5}) pool.publish(page, key(static_cast<uint8_t>(page)));
  release_all(pool, early);
  release_all(pool, late);
  EXPECT_EQ(pool.counts().cached, 5);
  EXPECT_EQ(take(pool, 7), (std::vector<int32_t>{6, 7, 3, 2, 1, 5, 4}));
  EXPECT_EQ(pool.counts().evictions, 5);
}

TEST(PagePool, ReusesPagesWithoutContentFirst) {
  PagePool pool(6);
  take(pool, 5);
  pool.publish(1, key(1));
  pool.publish(2, key(2));
  for (int32_t page : {1, 3, 2, 4}) pool.release(page);
  EXPECT_EQ(take(pool, 4), (std::vector<int32_t>{4, 3, 1, 2}));
}

TEST(PagePool, EvictsOnlyWhatItHandsOut) {
  PagePool pool(4);
  take(pool, 2);
  pool.publish(1, key(1));
  pool.publish(2, key(2));
  pool.release(1);
  pool.release(2);
  take(pool, 1);  // page 3, which has no content
  EXPECT_EQ(pool.find(key(1)), 1);
  EXPECT_EQ(pool.find(key(2)), 2);
  take(pool, 1);
  EXPECT_EQ(pool.find(key(1)), 0);
  EXPECT_EQ(pool.find(key(2)), 2);
}

TEST(PagePool, AHitRescuesAPageFromEviction) {
  PagePool pool(3);
  take(pool, 2);
  pool.publish(1, key(1));
  pool.publish(2, key(2));
  pool.release(1);
  pool.release(2);
  pool.hold(pool.find(key(1)));
  EXPECT_EQ(take(pool, 1), (std::vector<int32_t>{2}));
  EXPECT_EQ(status_of([&] { take(pool, 1); }), PAGODA_OUT_OF_PAGES);
  pool.release(1);
  EXPECT_EQ(pool.find(key(1)), 1);
}

TEST(PagePool, CountsHolders) {
  PagePool pool(3);
  take(pool, 1);
  pool.hold(1);
  pool.hold(1);
  EXPECT_EQ(pool.num_holders(1), 3);
  EXPECT_EQ(pool.counts().shared, 1);
  EXPECT_EQ(pool.counts().used, 1);
  pool.release(1);
  EXPECT_EQ(pool.counts().shared, 1);
  pool.release(1);
  EXPECT_EQ(pool.counts().shared, 0);
  EXPECT_EQ(pool.state(1), PAGODA_PAGE_USED);
  pool.release(1);
  EXPECT_EQ(pool.state(1), PAGODA_PAGE_FREE);
  EXPECT_EQ(status_of([&] { pool.release(1); }), PAGODA_INTERNAL);
}

TEST(PagePool, KeepsDuplicates) {
  PagePool pool(4);
  take(pool, 2);
  pool.publish(1, key(1));
  pool.publish(2, key(1));
  EXPECT_EQ(status_of([&] { pool.publish(2, key(3)); }), PAGODA_INTERNAL);
  const int32_t found = pool.find(key(1));
  pool.release(found);
  take(pool, 2);  // 3, and the one that was released
  EXPECT_EQ(pool.find(key(1)), 3 - found);
}

TEST(PagePool, HoldsBackWhatAStepInFlightMayRead) {
  PagePool pool(3);
  take(pool, 2);
  pool.publish(1, key(1));
  pool.step_begin(1);
  pool.step_begin(2);
  pool.release(1);
  pool.release(2);
  EXPECT_EQ(pool.num_available(), 0);
  EXPECT_EQ(pool.counts().fenced, 2);
  EXPECT_EQ(pool.state(1), PAGODA_PAGE_FENCED);
  pool.step_done(1);
  EXPECT_EQ(pool.num_available(), 0);
  pool.step_done(2);
  EXPECT_EQ(take(pool, 2), (std::vector<int32_t>{2, 1}));
}

TEST(PagePool, FenceKeepsTheOrderOfSteps) {
  PagePool pool(4);
  take(pool, 3);
  pool.step_begin(1);
  pool.release(1);
  pool.step_begin(2);
  pool.release(2);
  pool.step_done(1);
  EXPECT_EQ(take(pool, 1), (std::vector<int32_t>{1}));
  pool.step_begin(3);
  pool.release(3);
  pool.step_done(3);  // and with it 2
  EXPECT_EQ(pool.num_available(), 2);
  pool.release(1);  // no step in flight
  EXPECT_EQ(pool.num_available(), 3);
}

TEST(PagePool, FindsAndHoldsFencedPages) {
  PagePool pool(3);
  take(pool, 2);
  pool.publish(1, key(1));
  pool.step_begin(1);
  pool.release(1);
  pool.hold(pool.find(key(1)));
  EXPECT_EQ(pool.counts().fenced, 0);
  pool.step_done(1);
  EXPECT_EQ(pool.num_available(), 0);  // it is held
  pool.release(1);
  EXPECT_EQ(pool.num_available(), 1);
}

TEST(PagePool, ResetsOnlyWhenIdle) {
  PagePool pool(4);
  take(pool, 2);
  pool.publish(1, key(1));
  pool.release(1);
  EXPECT_EQ(status_of([&] { pool.reset(); }), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pool.find(key(1)), 1);
  pool.step_begin(1);
  pool.release(2);
  EXPECT_EQ(status_of([&] { pool.reset(); }), PAGODA_INVALID_ARGUMENT);
  pool.step_done(1);
  pool.reset();
  EXPECT_EQ(pool.find(key(1)), 0);
  EXPECT_EQ(pool.counts().free, 3);
  EXPECT_EQ(pool.counts().cached, 0);
  EXPECT_EQ(take(pool, 3).size(), 3u);
  EXPECT_EQ(pool.counts().evictions, 0);
}

TEST(PagePool, TellsWhatItEvicts) {
  struct Log {
    std::vector<std::pair<int32_t, int32_t>> pages;
    std::vector<PageKey> keys;
  } log;
  const EventSink sink{[](void* user, const pagoda_cache_event* event) {
                         EXPECT_EQ(event->struct_size, sizeof *event);
                         EXPECT_EQ(event->kind, PAGODA_CACHE_REMOVED);
                         auto& own = *static_cast<Log*>(user);
                         own.pages.emplace_back(event->page, event->group);
                         PageKey key;
                         std::copy_n(event->key, key.bytes.size(), key.bytes.begin());
                         own.keys.push_back(key);
                       },
                       &log};
  PagePool pool(3, sink);
  take(pool, 2);
  pool.publish(1, key(1, 7));
  pool.publish(2, key(2, 8));
  pool.release(2);
  pool.release(1);
  EXPECT_TRUE(log.pages.empty());
  take(pool, 2);
  EXPECT_EQ(log.pages, (std::vector<std::pair<int32_t, int32_t>>{{2, 8}, {1, 7}}));
  EXPECT_EQ(log.keys, (std::vector<PageKey>{key(2, 8), key(1, 7)}));
}

TEST(PagePool, RemembersForWhomAPageWasTaken) {
  PagePool pool(3);
  take(pool, 1, {.request = 77, .group = 2});
  EXPECT_EQ(pool.owner(1).request, 77u);
  EXPECT_EQ(pool.owner(1).group, 2);
  EXPECT_EQ(pool.owner(2).group, -1);
}

}  // namespace
}  // namespace pagoda

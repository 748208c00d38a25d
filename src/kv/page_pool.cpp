#include "page_pool.h"

#include <algorithm>
#include <limits>

#include "../core/error.h"

namespace pagoda {
namespace {

constexpr int32_t kFreeRing = 0;  // the null page

int64_t checked_num_pages(int64_t num_pages) {
  expect(num_pages >= 2 && num_pages <= std::numeric_limits<int32_t>::max(),
         PAGODA_INVALID_ARGUMENT, "num_pages is ", num_pages,
         "; a pool has the null page and at least one other, and fewer than 2147483648");
  return num_pages;
}

}  // namespace

PagePool::PagePool(int64_t num_pages, EventSink events)
    : num_pages_(checked_num_pages(num_pages)),
      events_(events),
      index_(num_pages),
      pages_(static_cast<size_t>(num_pages) + 1),
      fence_(static_cast<int32_t>(num_pages)) {
  at(kFreeRing) = {.prev = kFreeRing, .next = kFreeRing};
  at(fence_) = {.prev = fence_, .next = fence_};
  for (int32_t page = 1; page < fence_; ++page) insert_after(at(kFreeRing).prev, page);
  counts_.free = num_pages - 1;
}

void PagePool::insert_after(int32_t place, int32_t page) {
  const int32_t next = at(place).next;
  at(page).prev = place;
  at(page).next = next;
  at(place).next = page;
  at(next).prev = page;
}

void PagePool::unlink(int32_t page) {
  at(at(page).prev).next = at(page).next;
  at(at(page).next).prev = at(page).prev;
}

void PagePool::take(std::span<int32_t> pages, const PageOwner& owner) {
  const auto wanted = static_cast<int64_t>(pages.size());
  expect(wanted <= num_available(), PAGODA_OUT_OF_PAGES, wanted, " pages are wanted; of ",
         num_pages_ - 1, " this pool has ", num_available(),
         " left; free or preempt a request, or give the pool more");
  for (int32_t& page : pages) {
    page = at(kFreeRing).next;
    unlink(page);
    if (has_key(page))
      evict(page);
    else
      --counts_.free;
    at(page).holders = 1;
    at(page).owner = owner;
  }
  counts_.used += wanted;
  counts_.max_used = std::max(counts_.max_used, counts_.used);
}

void PagePool::evict(int32_t page) {
  const PageKey key = index_.key_of(page);
  index_.erase(page);
  --counts_.cached;
  ++counts_.evictions;
  pagoda_cache_event event = PAGODA_INIT(pagoda_cache_event);
  event.kind = PAGODA_CACHE_REMOVED;
  event.group = key.group();
  event.page = page;
  event.key = key.bytes.data();
  events_.send(event);
}

void PagePool::hold(int32_t page) {
  Page& own = at(page);
  if (++own.holders == 2) ++counts_.shared;
  if (own.holders > 1) return;
  unlink(page);
  --(own.fenced_until != 0 ? counts_.fenced : has_key(page) ? counts_.cached : counts_.free);
  own.fenced_until = 0;
  counts_.max_used = std::max(counts_.max_used, ++counts_.used);
}

void PagePool::release(int32_t page) {
  Page& own = at(page);
  expect(own.holders > 0, PAGODA_INTERNAL, "page ", page, " is released, but nobody holds it");
  if (--own.holders == 1) --counts_.shared;
  if (own.holders > 0) return;
  --counts_.used;
  if (begun_ == done_) return make_free(page);
  own.fenced_until = begun_;
  insert_after(at(fence_).prev, page);
  ++counts_.fenced;
}

void PagePool::make_free(int32_t page) {
  const bool cached = has_key(page);
  insert_after(cached ? at(kFreeRing).prev : kFreeRing, page);
  ++(cached ? counts_.cached : counts_.free);
}

void PagePool::publish(int32_t page, const PageKey& key) {
  expect(at(page).holders > 0 && !has_key(page), PAGODA_INTERNAL, "page ", page,
         " cannot be given a key: ", has_key(page) ? "it has one" : "nobody holds it");
  index_.insert(page, key);
}

void PagePool::step_done(uint64_t step) {
  done_ = std::max(done_, step);
  for (int32_t page = at(fence_).next; page != fence_ && at(page).fenced_until <= done_;
       page = at(fence_).next) {
    unlink(page);
    at(page).fenced_until = 0;
    --counts_.fenced;
    make_free(page);
  }
}

void PagePool::expect_idle() const {
  expect(counts_.used == 0 && counts_.fenced == 0, PAGODA_INVALID_ARGUMENT, counts_.used,
         " pages are held by requests and ", counts_.fenced,
         " by steps in flight; free the requests and finish the steps before a reset");
}

void PagePool::reset() {
  expect_idle();
  index_.clear();
  counts_.free += counts_.cached;
  counts_.cached = 0;
}

pagoda_page_state PagePool::state(int32_t page) const {
  if (page == 0) return PAGODA_PAGE_NULL;
  if (at(page).holders > 0) return PAGODA_PAGE_USED;
  if (at(page).fenced_until != 0) return PAGODA_PAGE_FENCED;
  return has_key(page) ? PAGODA_PAGE_CACHED : PAGODA_PAGE_FREE;
}

}  // namespace pagoda

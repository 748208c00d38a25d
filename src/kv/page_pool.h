// The pages of a cache: which are free, who holds the others, and which of the free ones still have
// content that a new request may find. Every operation takes constant time and no memory.
//
// A page that nobody holds is in the free ring or, if a step that may read it is in flight, in the
// fence ring. The free ring is in the order in which pages are taken again: first those without
// content, then the least recently used. A cached page loses its key only when it is taken.
#pragma once

#include <pagoda/kv.h>

#include <cstdint>
#include <span>
#include <vector>

#include "page_index.h"

namespace pagoda {

// Where the events of a cache go; see pagoda_cache_options.
struct EventSink {
  void (*function)(void* user, const pagoda_cache_event* event) = nullptr;
  void* user = nullptr;

  void send(const pagoda_cache_event& event) const {
    if (function != nullptr) function(user, &event);
  }
};

// For whom a page is taken; kept for pictures.
struct PageOwner {
  uint64_t request = 0;
  int32_t group = -1;
};

struct PoolCounts {
  int64_t used = 0;    // held
  int64_t shared = 0;  // of these, held more than once
  int64_t cached = 0;  // in the free ring, with a key
  int64_t free = 0;    // in the free ring, without
  int64_t fenced = 0;
  int64_t max_used = 0;
  int64_t evictions = 0;
};

// Pages are int32_t, as page tables hold them; addresses are computed from PageId (core/ids.h).
class PagePool {
 public:
  // num_pages: the null page included, at least 2 and below 2^31
  explicit PagePool(int64_t num_pages, EventSink events = {});

  int64_t num_pages() const { return num_pages_; }
  int64_t num_available() const { return counts_.cached + counts_.free; }
  const PoolCounts& counts() const { return counts_; }

  // Takes as many pages as `pages` is long, evicting what they cached. Throws PAGODA_OUT_OF_PAGES
  // if there are fewer, and takes none.
  void take(std::span<int32_t> pages, const PageOwner& owner);

  // The page with this key, or 0.
  int32_t find(const PageKey& key) const { return index_.find(key); }

  // One more holder of a page that find() returned or that has a holder.
  void hold(int32_t page);

  // One holder less. The last holder's page goes to the end of the free ring, or to its front if it
  // has no key.
  void release(int32_t page);

  // From now on find(key) returns this page or another that has the same key.
  void publish(int32_t page, const PageKey& key);

  // Pages released between step_begin(s) and step_done(s or later) are not taken before the latter.
  void step_begin(uint64_t step) { begun_ = step; }
  void step_done(uint64_t step);

  // Removes every key. The pool is idle.
  void reset();

  // Throws PAGODA_INVALID_ARGUMENT if a page is held or fenced.
  void expect_idle() const;

  pagoda_page_state state(int32_t page) const;
  int32_t num_holders(int32_t page) const { return at(page).holders; }
  bool has_key(int32_t page) const { return index_.contains(page); }
  const PageOwner& owner(int32_t page) const { return at(page).owner; }

 private:
  struct Page {
    int32_t prev, next;     // in its ring
    int32_t holders;        // 0: in a ring
    uint64_t fenced_until;  // the step that must be done; 0: not in the fence ring
    PageOwner owner;
  };

  Page& at(int32_t page) { return pages_[static_cast<size_t>(page)]; }
  const Page& at(int32_t page) const { return pages_[static_cast<size_t>(page)]; }
  void insert_after(int32_t place, int32_t page);
  void unlink(int32_t page);
  void make_free(int32_t page);
  void evict(int32_t page);

  int64_t num_pages_;
  EventSink events_;
  PageIndex index_;
  // [num_pages + 1] Page 0 heads the free ring, which it is never part of; the entry past the last
  // page heads the fence ring, which is in order of fenced_until.
  std::vector<Page> pages_;
  int32_t fence_;
  uint64_t begun_ = 0;
  uint64_t done_ = 0;
  PoolCounts counts_;
};

}  // namespace pagoda

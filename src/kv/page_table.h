// One request's pages in one group, in the order of its tokens: a row of the page table. Entries
// before first_live() are the null page, because the window has left what they stood for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "page_pool.h"
#include "slots.h"

namespace pagoda {

class PageRow {
 public:
  std::span<const int32_t> pages() const { return pages_; }
  int32_t size() const { return static_cast<int32_t>(pages_.size()); }
  int32_t first_live() const { return first_live_; }

  // Room for this many pages, so that what follows takes no memory.
  void reserve(int32_t num_pages);

  // `count` null pages at the front of an empty row.
  void skip(int32_t count);

  // A page that has its holder already.
  void append(int32_t page) { pages_.push_back(page); }

  // New pages at the end, until there are `size`.
  void take(int32_t size, PagePool& pool, const PageOwner& owner);

  // Gives back the first `count` pages and leaves the null page in their place.
  void drop_front(int32_t count, PagePool& pool);

  // Gives back pages at the end, until `size` are left.
  void drop_back(int32_t size, PagePool& pool);

  // Gives back every page and becomes empty.
  void release(PagePool& pool);

 private:
  void release_range(int32_t begin, int32_t end, PagePool& pool);

  std::vector<int32_t> pages_;
  int32_t first_live_ = 0;
};

// Columns of the page table that a row takes: its pages as the kernel counts them.
int32_t num_columns(const PageLayout& layout, std::span<const int32_t> row);

// columns: the table row from column `first` on, as long as it has columns
void write_columns(const PageLayout& layout, std::span<const int32_t> row, int32_t first,
                   std::span<int32_t> columns);

}  // namespace pagoda

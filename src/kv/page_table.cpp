#include "page_table.h"

#include <algorithm>

#include "../core/ids.h"

namespace pagoda {

namespace {
constexpr auto kNull = static_cast<int32_t>(kNullPage.value);
}

void PageRow::reserve(int32_t num_pages) {
  const auto wanted = static_cast<size_t>(num_pages);
  // Twice the room, so that a request that grows page by page is not copied each time.
  if (wanted > pages_.capacity()) pages_.reserve(std::max(wanted, 2 * pages_.capacity()));
}

void PageRow::skip(int32_t count) {
  pages_.assign(static_cast<size_t>(count), kNull);
  first_live_ = count;
}

void PageRow::take(int32_t size, PagePool& pool, const PageOwner& owner) {
  const size_t before = pages_.size();
  if (static_cast<size_t>(size) <= before) return;
  pages_.resize(static_cast<size_t>(size));
  pool.take(std::span(pages_).subspan(before), owner);
}

void PageRow::drop_front(int32_t count, PagePool& pool) {
  if (count <= first_live_) return;
  release_range(first_live_, count, pool);
  std::fill_n(pages_.begin(), count, kNull);
  first_live_ = count;
}

void PageRow::drop_back(int32_t size, PagePool& pool) {
  if (size >= this->size()) return;
  release_range(std::max(size, first_live_), this->size(), pool);
  pages_.resize(static_cast<size_t>(size));
  first_live_ = std::min(first_live_, size);
}

void PageRow::release(PagePool& pool) {
  release_range(first_live_, size(), pool);
  pages_.clear();
  first_live_ = 0;
}

// From the end, so that the end is evicted first: a prefix is of use without what follows it.
void PageRow::release_range(int32_t begin, int32_t end, PagePool& pool) {
  for (int32_t i = end; i-- > begin;) pool.release(pages_[static_cast<size_t>(i)]);
}

int32_t num_columns(const PageLayout& layout, std::span<const int32_t> row) {
  return static_cast<int32_t>(row.size()) * layout.kernel_pages;
}

void write_columns(const PageLayout& layout, std::span<const int32_t> row, int32_t first,
                   std::span<int32_t> columns) {
  const int32_t k = layout.kernel_pages;
  if (k == 1) {
    std::copy_n(row.begin() + first, columns.size(), columns.begin());
    return;
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    const int32_t column = first + static_cast<int32_t>(i);
    const int32_t page = row[static_cast<size_t>(column / k)];
    columns[i] = page * k + column % k;
  }
}

}  // namespace pagoda

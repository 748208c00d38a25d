#include "page_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pagoda {

PageIndex::PageIndex(int64_t num_pages)
    : entries_(static_cast<size_t>(num_pages)),
      buckets_(std::bit_ceil(static_cast<size_t>(num_pages))) {}

// A digest is random already. Groups have keys of the same digest, so they are kept apart.
size_t PageIndex::bucket_of(const PageKey& key) const {
  uint64_t bits = 0;
  std::memcpy(&bits, key.bytes.data(), sizeof bits);
  const uint64_t group = static_cast<uint64_t>(key.group()) * 0x9e3779b97f4a7c15u;
  return static_cast<size_t>(bits ^ (group >> 32)) & (buckets_.size() - 1);
}

int32_t PageIndex::find(const PageKey& key) const {
  for (int32_t page = buckets_[bucket_of(key)]; page != 0; page = entry(page).next)
    if (entry(page).key == key) return page;
  return 0;
}

void PageIndex::insert(int32_t page, const PageKey& key) {
  int32_t& first = buckets_[bucket_of(key)];
  if (first != 0) entry(first).prev = page;
  entry(page) = {.key = key, .prev = 0, .next = first, .linked = true};
  first = page;
}

void PageIndex::erase(int32_t page) {
  Entry& own = entry(page);
  if (own.prev != 0)
    entry(own.prev).next = own.next;
  else
    buckets_[bucket_of(own.key)] = own.next;
  if (own.next != 0) entry(own.next).prev = own.prev;
  own.linked = false;
}

void PageIndex::clear() {
  std::fill(buckets_.begin(), buckets_.end(), 0);
  for (Entry& own : entries_) own.linked = false;
}

}  // namespace pagoda

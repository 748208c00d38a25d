// Key -> pages: a hash table whose links are part of the pages' own entries, so that it takes all
// its memory at creation. Several pages may have one key: two requests computed the same prefix
// before either could find the other's.
#pragma once

#include <cstdint>
#include <vector>

#include "prefix_hash.h"

namespace pagoda {

class PageIndex {
 public:
  // Pages are 1 .. num_pages - 1; 0 stands for none.
  explicit PageIndex(int64_t num_pages);

  // The page last inserted under this key, or 0.
  int32_t find(const PageKey& key) const;

  bool contains(int32_t page) const { return entry(page).linked; }
  const PageKey& key_of(int32_t page) const { return entry(page).key; }

  void insert(int32_t page, const PageKey& key);
  void erase(int32_t page);
  void clear();

 private:
  struct Entry {
    PageKey key;
    int32_t prev = 0;  // 0: the first of its bucket
    int32_t next = 0;  // 0: the last
    bool linked = false;
  };

  const Entry& entry(int32_t page) const { return entries_[static_cast<size_t>(page)]; }
  Entry& entry(int32_t page) { return entries_[static_cast<size_t>(page)]; }
  size_t bucket_of(const PageKey& key) const;

  std::vector<Entry> entries_;    // [num_pages]
  std::vector<int32_t> buckets_;  // [a power of two], first page of each or 0
};

}  // namespace pagoda

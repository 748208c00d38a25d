#include "prefix_search.h"

namespace pagoda {
namespace {

// The pages of one request in one group, looked up by number.
class Lookup {
 public:
  Lookup(const CacheShape& shape, std::span<const PagePool> pools, Request& request, size_t group,
         PrefixHasher& hasher)
      : group_(shape.groups[group]),
        index_(static_cast<int32_t>(group)),
        pool_(pools[static_cast<size_t>(group_.pool)]),
        request_(request),
        chain_(request.chains[static_cast<size_t>(group_.chain)]),
        hasher_(hasher) {}

  const Group& group() const { return group_; }

  bool is_cached(int32_t page) {
    extend(chain_, request_, group_.layout.span(), page + 1, hasher_);
    return pool_.find(page_key(chain_.digests[static_cast<size_t>(page)], index_)) != 0;
  }

 private:
  const Group& group_;
  int32_t index_;
  const PagePool& pool_;
  const Request& request_;
  Chain& chain_;
  PrefixHasher& hasher_;
};

int32_t align_down(int32_t value, int32_t alignment) {
  return value - value % alignment;
}

// Every page from the first on.
int32_t longest_whole(Lookup& lookup, int32_t limit, int32_t alignment) {
  const int32_t span = lookup.group().layout.span();
  int32_t pages = 0;
  while (pages < limit / span && lookup.is_cached(pages)) ++pages;
  return align_down(pages * span, alignment);
}

// Only the pages that the next token's window covers, so the search goes from the end: `end` is the
// longest prefix that no missing page rules out yet.
int32_t longest_windowed(Lookup& lookup, int32_t limit, int32_t alignment) {
  const int32_t span = lookup.group().layout.span();
  int32_t end = limit;
  for (int32_t page = end / span; page > end / span - pages_needed(lookup.group(), end);) {
    --page;
    if (!lookup.is_cached(page)) {
      end = align_down(page * span, alignment);
      page = end / span;
    }
  }
  return end;
}

}  // namespace

int32_t find_prefix(const CacheShape& shape, std::span<const PagePool> pools, Request& request,
                    int32_t limit, PrefixHasher& hasher) {
  // A group can only shorten the prefix, and a shorter prefix may need other pages of a windowed
  // group; so the groups are asked in turn until all of them agree.
  int32_t agreed = align_down(limit, shape.alignment);
  for (size_t asked = 0, g = 0; asked < shape.groups.size() && agreed > 0;
       ++asked, g = (g + 1) % shape.groups.size()) {
    Lookup lookup(shape, pools, request, g, hasher);
    const int32_t found = lookup.group().has_window()
                              ? longest_windowed(lookup, agreed, shape.alignment)
                              : longest_whole(lookup, agreed, shape.alignment);
    if (found < agreed) asked = 0;
    agreed = found;
  }
  return agreed;
}

}  // namespace pagoda

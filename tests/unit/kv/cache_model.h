// The paged cache once more, as slow and plain as it can be said: lists are searched from end to
// end, prefixes are compared by definition, nothing is hashed but for brevity. It shares no code
// with src/kv except the description of a group.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "src/kv/groups.h"

namespace pagoda::test {

// Stands for a token and all before it, with the salt: what the token's key and value depend on.
using Tag = uint64_t;

inline Tag extend_tag(Tag before, int32_t token) {
  uint64_t x = before * 0x9e3779b97f4a7c15u + static_cast<uint32_t>(token) + 1;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

inline std::vector<Tag> tags_of(const std::vector<int32_t>& tokens, int32_t salt) {
  std::vector<Tag> tags;
  Tag tag = extend_tag(0, salt);
  for (int32_t token : tokens) tags.push_back(tag = extend_tag(tag, token));
  return tags;
}

struct ModelPool {
  using Key = std::pair<size_t, Tag>;  // group, and the tag of the page's last token

  explicit ModelPool(int64_t num_pages)
      : holders(static_cast<size_t>(num_pages)), keys(holders.size()), published(holders.size()) {
    for (int32_t page = 1; page < num_pages; ++page) free.push_back(page);
  }

  std::vector<int32_t> take(size_t count) {
    std::vector<int32_t> pages(free.begin(), free.begin() + static_cast<ptrdiff_t>(count));
    free.erase(free.begin(), free.begin() + static_cast<ptrdiff_t>(count));
    for (int32_t page : pages) {
      evictions += keys[at(page)].has_value();
      keys[at(page)].reset();
      holders[at(page)] = 1;
    }
    return pages;
  }

  // The one that was published last.
  int32_t find(const Key& key) const {
    int32_t found = 0;
    for (size_t page = 1; page < keys.size(); ++page)
      if (keys[page] == key && (found == 0 || published[page] > published[at(found)]))
        found = static_cast<int32_t>(page);
    return found;
  }

  void hold(int32_t page) {
    std::erase(free, page);
    std::erase_if(fenced, [&](const auto& entry) { return entry.first == page; });
    ++holders[at(page)];
  }

  void release(int32_t page) {
    if (--holders[at(page)] > 0) return;
    if (begun > done)
      fenced.emplace_back(page, begun);
    else
      make_free(page);
  }

  void make_free(int32_t page) {
    if (keys[at(page)])
      free.push_back(page);
    else
      free.push_front(page);
  }

  void finish(uint64_t step) {
    done = step;
    while (!fenced.empty() && fenced.front().second <= done) {
      make_free(fenced.front().first);
      fenced.pop_front();
    }
  }

  static size_t at(int32_t page) { return static_cast<size_t>(page); }

  std::deque<int32_t> free;
  std::deque<std::pair<int32_t, uint64_t>> fenced;
  std::vector<int> holders;              // [num_pages]
  std::vector<std::optional<Key>> keys;  // [num_pages]
  std::vector<int64_t> published;        // [num_pages] when
  uint64_t begun = 0, done = 0;
  int64_t evictions = 0;
};

struct ModelRequest {
  std::vector<Tag> tags;  // of the known tokens
  int32_t computed = 0;
  int32_t capacity = 0;
  std::vector<std::vector<int32_t>> rows;  // [groups]
  std::vector<int32_t> published;          // [groups] pages
};

class Model {
 public:
  Model(std::vector<Group> groups, const std::vector<int64_t>& num_pages)
      : groups_(std::move(groups)) {
    for (int64_t count : num_pages) pools.emplace_back(count);
  }

  // The longest prefix, short of the last token, of which every key that the next token sees is
  // there in every group, and which ends with a page in every group.
  int32_t find(const std::vector<Tag>& tags) const {
    for (auto end = static_cast<int32_t>(tags.size()) - 1; end > 0; --end)
      if (usable(tags, end)) return end;
    return 0;
  }

  int32_t begin(uint64_t id, std::vector<Tag> tags) {
    const int32_t cached = find(tags);
    ModelRequest request{.tags = std::move(tags),
                         .computed = cached,
                         .capacity = cached,
                         .rows = std::vector<std::vector<int32_t>>(groups_.size()),
                         .published = {}};
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int32_t size = groups_[g].layout.page_size;
      request.published.push_back(cached / size);
      for (int32_t page = 0; page < cached / size; ++page) {
        const bool seen = (page + 1) * size > oldest_seen(g, cached);
        request.rows[g].push_back(seen ? find_page(request.tags, g, page) : 0);
        if (seen) pool(g).hold(request.rows[g].back());
      }
    }
    requests[id] = std::move(request);
    return cached;
  }

  bool grow(uint64_t id, int32_t num_tokens) {
    ModelRequest& request = requests.at(id);
    std::vector<size_t> wanted(pools.size());
    std::vector<size_t> more(groups_.size());
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int32_t size = groups_[g].layout.page_size;
      const auto total = static_cast<size_t>((num_tokens + size - 1) / size);
      more[g] = total > request.rows[g].size() ? total - request.rows[g].size() : 0;
      wanted[static_cast<size_t>(groups_[g].pool)] += more[g];
    }
    for (size_t p = 0; p < pools.size(); ++p)
      if (wanted[p] > pools[p].free.size()) return false;
    for (size_t g = 0; g < groups_.size(); ++g)
      for (int32_t page : pool(g).take(more[g])) request.rows[g].push_back(page);
    request.capacity = std::max(request.capacity, num_tokens);
    return true;
  }

  void commit(uint64_t id, int32_t computed) {
    ModelRequest& request = requests.at(id);
    request.computed = computed;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int32_t size = groups_[g].layout.page_size;
      for (int32_t& page = request.published[g]; page < computed / size; ++page) {
        const size_t id_of_page = ModelPool::at(request.rows[g][static_cast<size_t>(page)]);
        pool(g).keys[id_of_page] = {g, last_tag(request.tags, g, page)};
        pool(g).published[id_of_page] = ++clock_;
      }
      for (auto page = static_cast<int32_t>(request.rows[g].size()); page-- > 0;) {
        int32_t& held = request.rows[g][static_cast<size_t>(page)];
        if (held == 0 || (page + 1) * size > oldest_seen(g, computed)) continue;
        pool(g).release(held);
        held = 0;
      }
    }
  }

  void free(uint64_t id) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      const auto& row = requests.at(id).rows[g];
      for (size_t i = row.size(); i-- > 0;)
        if (row[i] != 0) pool(g).release(row[i]);
    }
    requests.erase(id);
  }

  int32_t oldest_seen(size_t g, int32_t position) const {
    return groups_[g].window == 0 ? 0 : std::max(0, position - groups_[g].window + 1);
  }

  std::map<uint64_t, ModelRequest> requests;
  std::vector<ModelPool> pools;

 private:
  ModelPool& pool(size_t g) { return pools[static_cast<size_t>(groups_[g].pool)]; }

  Tag last_tag(const std::vector<Tag>& tags, size_t g, int32_t page) const {
    return tags[static_cast<size_t>((page + 1) * groups_[g].layout.page_size - 1)];
  }

  int32_t find_page(const std::vector<Tag>& tags, size_t g, int32_t page) const {
    return pools[static_cast<size_t>(groups_[g].pool)].find({g, last_tag(tags, g, page)});
  }

  bool usable(const std::vector<Tag>& tags, int32_t end) const {
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int32_t size = groups_[g].layout.page_size;
      if (end % size != 0) return false;
      for (int32_t page = end / size; page-- > 0;)
        if ((page + 1) * size > oldest_seen(g, end) && find_page(tags, g, page) == 0) return false;
    }
    return true;
  }

  std::vector<Group> groups_;
  int64_t clock_ = 0;
};

}  // namespace pagoda::test

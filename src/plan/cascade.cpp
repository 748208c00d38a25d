#include "cascade.h"

#include <algorithm>

namespace pagoda {
namespace {

class Search {
 public:
  Search(const PrefixBatch& batch, const PrefixRules& rules, const PrefixMemory& memory)
      : batch_(batch), rules_(rules), memory_(memory) {}

  PrefixForest run() {
    const int32_t count = collect();
    sort_by_page({.first_req = 0, .num_reqs = count, .parent = -1, .page = 0});
    while (num_pending_ > 0) grow(memory_.pending[--num_pending_]);
    return forest_;
  }

 private:
  int32_t query_len(int32_t r) const {
    return batch_.query_start_loc[r + 1] - batch_.query_start_loc[r];
  }
  int32_t seq_len(int32_t r) const { return batch_.seq_lens[r]; }
  int32_t num_keys(int32_t r) const { return local_len(rules_.shard, seq_len(r)); }
  int32_t num_pages(int32_t r) const {
    return static_cast<int32_t>((int64_t{num_keys(r)} + rules_.page_size - 1) / rules_.page_size);
  }
  const int32_t* pages(int32_t r) const { return batch_.page_table + r * batch_.page_table_stride; }
  bool causal(int32_t r) const {
    return batch_.causal != nullptr ? batch_.causal[r] != 0 : rules_.mask.causal;
  }

  // Requests that may share at all, in `order`.
  int32_t collect() {
    int32_t count = 0;
    for (int32_t r = 0; r < batch_.num_reqs; ++r) {
      memory_.deepest[r] = -1;
      const bool fits = query_len(r) > 0 && query_len(r) <= rules_.max_query_len;
      if (fits && num_keys(r) >= unit_of(r)) memory_.order[count++] = r;
    }
    return count;
  }

  // Whether two requests can be in one node: their keys are cut alike, and their rows, in order of
  // position, see ranges that never fall from row to row.
  bool alike(int32_t a, int32_t b) const {
    return causal(a) == causal(b) &&
           split_len(rules_.splits, num_keys(a)) == split_len(rules_.splits, num_keys(b));
  }

  // The page at a place, below all pages for a request that ends before it.
  int32_t page_at(int32_t r, int32_t place) const {
    return place < num_pages(r) ? pages(r)[place] : -1;
  }

  bool goes_before(int32_t a, int32_t b, int32_t place) const {
    if (place == 0 && causal(a) != causal(b)) return causal(a);
    if (place == 0) {
      const int64_t len_a = split_len(rules_.splits, num_keys(a));
      const int64_t len_b = split_len(rules_.splits, num_keys(b));
      if (len_a != len_b) return len_a < len_b;
    }
    const int32_t page_a = page_at(a, place), page_b = page_at(b, place);
    return page_a != page_b ? page_a < page_b : a < b;
  }

  // Parts a set by the page at set.page: those of several requests become pending.
  void sort_by_page(const PendingPrefix& set) {
    int32_t* order = memory_.order + set.first_req;
    std::sort(order, order + set.num_reqs,
              [&](int32_t a, int32_t b) { return goes_before(a, b, set.page); });
    for (int32_t i = 0; i < set.num_reqs;) {
      const int32_t first = i, page = page_at(order[i], set.page);
      for (++i; i < set.num_reqs && page_at(order[i], set.page) == page; ++i)
        if (set.page == 0 && !alike(order[first], order[i])) break;
      if (i - first < 2 || page < 0) continue;
      memory_.pending[num_pending_++] = {.first_req = set.first_req + first,
                                         .num_reqs = i - first,
                                         .parent = set.parent,
                                         .page = set.page + 1};
    }
  }

  // How many pages all requests of the set begin with.
  int32_t common_pages(const PendingPrefix& set) {
    const int32_t* order = memory_.order + set.first_req;
    const int32_t* first = pages(order[0]);
    int32_t common = num_pages(order[0]);
    for (int32_t i = 1; i < set.num_reqs; ++i) {
      const int32_t* other = pages(order[i]);
      const int32_t most = std::min(common, num_pages(order[i]));
      common = static_cast<int32_t>(
          std::mismatch(first + set.page, first + std::max(most, set.page), other + set.page)
              .first -
          first);
      forest_.compared_pages += common - set.page + 1;
    }
    return common;
  }

  void grow(const PendingPrefix& set) {
    PendingPrefix rest = set;
    rest.page = common_pages(set);
    const SharedPrefix node = node_of(set, rest.page);
    if (is_wanted(node)) rest.parent = add(node);
    if (rest.parent >= 0 && memory_.nodes[rest.parent].level + 1 >= rules_.max_levels) return;
    if (whole_units(rest, int64_t{rest.page} * rules_.page_size) > node.key_end)
      drop_short(rest, node.key_end);
    else
      sort_by_page(rest);
  }

  // The same for all requests of a set.
  int64_t unit_of(int32_t r) const {
    return rules_.whole_splits ? split_len(rules_.splits, num_keys(r)) : rules_.unit;
  }
  int64_t whole_units(const PendingPrefix& set, int64_t keys) const {
    const int64_t unit = unit_of(memory_.order[set.first_req]);
    return keys / unit * unit;
  }

  // Requests that end before their common pages do hold the others back: those go on without them.
  void drop_short(PendingPrefix set, int32_t key_end) {
    int32_t* order = memory_.order + set.first_req;
    const auto reaches_beyond = [&](int32_t r) {
      const int64_t unit = unit_of(r);
      return num_keys(r) / unit * unit > key_end;
    };
    set.num_reqs =
        static_cast<int32_t>(std::partition(order, order + set.num_reqs, reaches_beyond) - order);
    if (set.num_reqs >= 2) memory_.pending[num_pending_++] = set;
  }

  SharedPrefix node_of(const PendingPrefix& set, int32_t common) const {
    SharedPrefix node{.parent = set.parent, .first_req = set.first_req, .num_reqs = set.num_reqs};
    if (set.parent >= 0) {
      node.level = memory_.nodes[set.parent].level + 1;
      node.key_begin = memory_.nodes[set.parent].key_end;
    }
    int64_t end = int64_t{common} * rules_.page_size;
    for (int32_t i = 0; i < set.num_reqs; ++i) {
      const int32_t r = memory_.order[set.first_req + i];
      end = std::min<int64_t>(end, num_keys(r));
      node.num_tokens += query_len(r);
    }
    node.key_end = std::max(node.key_begin, static_cast<int32_t>(whole_units(set, end)));
    node.visible = {.begin = node.key_end, .end = node.key_begin};
    for (int32_t i = 0; i < set.num_reqs; ++i) {
      const KeyRange seen = seen_of(node, memory_.order[set.first_req + i]);
      if (seen.empty()) continue;
      node.visible.begin = std::min(node.visible.begin, seen.begin);
      node.visible.end = std::max(node.visible.end, seen.end);
    }
    return node;
  }

  // The keys of a node that some query of the request sees.
  KeyRange seen_of(const SharedPrefix& node, int32_t r) const {
    const Mask mask = mask_of_request(rules_.mask, causal(r));
    const int32_t first = seq_len(r) - query_len(r), last = seq_len(r) - 1;
    const KeyRange seen = local_range(rules_.shard, any_visible(mask, first, last, seq_len(r)));
    return {.begin = std::max(seen.begin, node.key_begin), .end = std::min(seen.end, node.key_end)};
  }

  bool is_wanted(const SharedPrefix& node) {
    if (node.visible.empty()) return false;
    if (node.parent < 0 && forest_.num_tokens + node.num_tokens > rules_.max_tokens) return false;
    if (rules_.forced || pays(node)) return true;
    ++forest_.num_refused;
    const int64_t keys = node.key_end - node.key_begin;
    if (keys > forest_.refused_keys) {
      forest_.refused_keys = keys;
      forest_.refused_reqs = node.num_reqs;
    }
    return false;
  }

  bool pays(const SharedPrefix& node) const {
    double flat = 0;
    bool cold = true;
    for (int32_t i = 0; i < node.num_reqs; ++i) {
      const int32_t r = memory_.order[node.first_req + i];
      const KeyRange seen = seen_of(node, r);
      if (seen.empty()) continue;
      flat += price_of_rows(rules_, seen.end - seen.begin, int64_t{query_len(r)} * rules_.key.group,
                            cold);
      cold = (node.visible.end - node.visible.begin) * rules_.key.bytes > rules_.prices.cache_bytes;
    }
    const int64_t rows = node.num_tokens * rules_.key.group;
    const double shared =
        price_of_rows(rules_, node.visible.end - node.visible.begin, rows, true) +
        static_cast<double>(rows * rules_.key.floats_of_state) * rules_.prices.state;
    return (flat - shared) * rules_.key.num_kv_heads > rules_.prices.level;
  }

  int32_t add(const SharedPrefix& node) {
    const int32_t index = forest_.num_nodes++;
    memory_.nodes[index] = node;
    memory_.nodes[index].first_token = forest_.num_listed;
    forest_.num_listed += node.num_tokens;
    for (int32_t i = 0; i < node.num_reqs; ++i)
      memory_.deepest[memory_.order[node.first_req + i]] = index;
    forest_.num_levels = std::max(forest_.num_levels, node.level + 1);
    if (node.parent < 0) {
      forest_.num_reqs += node.num_reqs;
      forest_.num_tokens += node.num_tokens;
    }
    return index;
  }

  const PrefixBatch& batch_;
  const PrefixRules& rules_;
  const PrefixMemory& memory_;
  PrefixForest forest_;
  int32_t num_pending_ = 0;
};

}  // namespace

double price_of_rows(const PrefixRules& rules, int64_t keys, int64_t rows, bool cold) {
  const CascadePrices& prices = rules.prices;
  const double elements = static_cast<double>(keys) * rules.key.elements;
  const auto passes = static_cast<double>((rows + prices.rows_of_pass - 1) / prices.rows_of_pass);
  const auto per_element = static_cast<double>(rows);
  const double computed =
      rows <= prices.rows_in_place
          ? elements * (prices.element + per_element * prices.product)
          : elements * (passes * prices.packed + per_element * prices.packed_product);
  if (!cold) return computed;
  const int64_t bytes = keys * rules.key.bytes;
  const double readings = bytes > prices.cache_bytes ? passes : 1;
  const double read = static_cast<double>(bytes) / rules.key.num_kv_heads * prices.byte;
  return std::max(computed, readings * read);
}

PrefixForest find_shared_prefixes(const PrefixBatch& batch, const PrefixRules& rules,
                                  const PrefixMemory& memory) {
  return Search(batch, rules, memory).run();
}

}  // namespace pagoda

// The loop that all BPE tokenizers share: among all neighbouring symbols that may be joined, join
// the best pair, the leftmost among equals, until none is left. Symbols form a linked list,
// candidates a heap; a candidate whose symbols have changed since is recognised by its length and
// dropped. O(n log n) in the number of symbols.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

struct Symbol {
  uint32_t begin = 0;   // byte offset into the text
  uint32_t length = 0;  // 0: joined into its left neighbour
  TokenId id = -1;      // -1: no token
  int32_t previous = -1;
  int32_t next = -1;
};

struct Join {
  float cost;  // the smallest is joined first; ranks up to 2^24 are exact
  TokenId id;  // of the joined symbol
};

// `find_join(left, right)` gives the Join of two neighbouring symbols, or nothing.
// On return the symbols that are left are those with a length, in order.
template <class FindJoin>
void merge_symbols(std::vector<Symbol>& symbols, FindJoin find_join) {
  struct Candidate {
    float cost;
    int32_t left;
    uint32_t length;  // of both together, when the candidate was found
    TokenId id;
  };
  const auto is_worse = [](const Candidate& a, const Candidate& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.left > b.left;
  };
  std::vector<Candidate> heap;
  const auto consider = [&](int32_t left) {
    if (left < 0) return;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    if (a.next < 0) return;
    const Symbol& b = symbols[static_cast<size_t>(a.next)];
    const std::optional<Join> join = find_join(a, b);
    if (!join) return;
    heap.push_back({join->cost, left, a.length + b.length, join->id});
    std::push_heap(heap.begin(), heap.end(), is_worse);
  };

  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)].previous = i - 1;
    symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), is_worse);
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (left.length + right.length != best.length) continue;
    left.length = best.length;
    left.id = best.id;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
}

}  // namespace pagoda::engine

// What the cache knows about one request. Requests are recycled with the memory of their vectors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "page_table.h"
#include "prefix_hash.h"

namespace pagoda {

// What a request enters the cache with. The ids are borrowed.
struct Prompt {
  uint64_t id = 0;
  std::span<const int32_t> tokens;  // [num_tokens], empty where nothing is shared
  int32_t num_tokens = 0;
  Domain domain;
  bool sharing = true;  // finds and offers pages
};

// The digests of a prefix in pages of one size, computed as far as somebody needed them. Groups of
// one page size share a chain.
struct Chain {
  std::vector<Digest> digests;  // of page 0, 1, ...
};

struct GroupState {
  PageRow row;
  int32_t num_published = 0;  // leading pages that have been given a key, or were found by it
};

struct Request {
  uint64_t id = 0;
  std::vector<int32_t> tokens;  // [num_tokens] if sharing, otherwise empty
  int32_t num_tokens = 0;       // known
  int32_t num_computed = 0;
  int32_t num_cached = 0;  // of num_computed, when the request began
  int32_t capacity = 0;    // tokens that have been asked to have pages
  bool sharing = true;
  Domain domain;
  std::vector<Chain> chains;       // [chains of the cache]
  std::vector<GroupState> groups;  // [groups of the cache]
};

// Makes the digests of the first num_pages pages of `page_size` tokens, which are known.
void extend(Chain& chain, const Request& request, int32_t page_size, int32_t num_pages,
            PrefixHasher& hasher);

}  // namespace pagoda

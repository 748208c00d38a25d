// The groups and pools of a cache: sets of layers with one page size and window each, and the sets
// of pages they draw from. Fixed at creation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "page_pool.h"
#include "slots.h"

namespace pagoda {

struct Group {
  PageLayout layout;
  int32_t window = 0;  // a token sees itself and the window - 1 before it; 0: all before it
  int32_t pool = 0;
  int64_t page_bytes = 0;  // 0: not told
  int32_t chain = 0;       // of the digests in pages of layout.span() tokens; set by make_groups

  bool has_window() const { return window > 0; }
};

struct CacheShape {
  std::vector<Group> groups;
  std::vector<int64_t> num_pages;    // [pools], the null page included
  std::vector<int32_t> chain_spans;  // [chains] tokens per page of each
  int32_t alignment = 1;             // a prefix found by all groups is a multiple of this
};

// Checks the groups and derives chains and alignment. Throws PAGODA_INVALID_ARGUMENT,
// PAGODA_UNSUPPORTED.
CacheShape make_shape(std::vector<Group> groups, std::vector<int64_t> num_pages);

// Row entries at the front that no token at or after position num_computed sees.
int32_t pages_out_of_window(const Group& group, int32_t num_computed);

// Pages that must be found right before position `end`, a multiple of the page, for the prefix of
// that length to be of use: all, or what the next token's window covers.
int32_t pages_needed(const Group& group, int32_t end);

// Pages that one request of num_tokens tokens holds at most, if at most max_ahead of them have
// pages but are not committed.
int64_t max_pages_held(const Group& group, int32_t num_tokens, int32_t max_ahead);

}  // namespace pagoda

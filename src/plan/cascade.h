// Shared prefixes: which requests of a step begin with the same pages, as a tree, and where reading
// those keys once for all of them pays.
//
//   page table            tree                      ranges of keys
//   A: 7 2 5 | 1 | 8      7 2 5 - 1 - A             [0, 3 pages) of A, B, C
//   B: 7 2 5 | 1 | 3            \   \ B             [3, 4 pages) of A, B
//   C: 7 2 5 | 6                 \ C
//
// Pages are compared by number: equal numbers are the same memory. A node is one range of keys that
// a set of requests attends together; what is left of each request follows on its own. Nothing here
// allocates, and nothing depends on the order of the requests.
#pragma once

#include <cstdint>

#include "../core/mask.h"
#include "../core/shard.h"
#include "../core/splits.h"

namespace pagoda {

// The requests of a step. Host arrays, checked.
struct PrefixBatch {
  int32_t num_reqs = 0;
  const int32_t* query_start_loc = nullptr;  // [num_reqs + 1]
  const int32_t* seq_lens = nullptr;         // [num_reqs]
  const int32_t* page_table = nullptr;       // [num_reqs, page_table_stride]
  int64_t page_table_stride = 0;
  const uint8_t* causal = nullptr;  // [num_reqs] or null: all as the mask says
};

// Nanoseconds of one thread. Measured constants that change speed, never results.
struct CascadePrices {
  double byte = 0;     // of keys or values, read from memory
  double element = 0;  // of keys or values that few rows use in place
  double product = 0;  // a multiply-add of those
  double packed = 0;   // an element that is packed for many rows
  double packed_product = 0;
  double state = 0;           // a float of a row's state, left by one group and taken up behind it
  double level = 0;           // a level of the tree, which waits for the one before; all threads
  int64_t cache_bytes = 0;    // ranges up to this size come from memory only once
  int32_t rows_in_place = 0;  // more rows than this pack the keys
  int32_t rows_of_pass = 1;   // rows that share one reading
};

// What one key of one head costs to read and to attend.
struct KeyShape {
  int32_t elements = 0;  // head_dim + head_dim_v
  int64_t bytes = 0;     // of a key and its value, all their heads
  int32_t num_kv_heads = 1;
  int32_t group = 1;  // rows of a query token and head
  int32_t floats_of_state = 0;
};

struct PrefixRules {
  int32_t page_size = 16;
  int32_t unit = 64;          // ranges begin and end at multiples of so many keys,
  bool whole_splits = false;  // or where splits do
  SplitRule splits;           // requests share only where they cut their keys alike
  Mask mask;
  Shard shard;  // keys are counted as this rank keeps them
  int32_t max_levels = 8;
  int32_t max_query_len = 0;  // requests with more query tokens stay apart
  int64_t max_tokens = 0;     // query tokens of all that share
  bool forced = false;        // wherever it is possible; otherwise where it pays
  CascadePrices prices;
  KeyShape key;
};

struct SharedPrefix {
  int32_t parent = -1;  // node whose range ends where this one begins; below 0: none
  int32_t level = 0;    // of the parent plus one; 0 without a parent
  int32_t key_begin = 0, key_end = 0;
  KeyRange visible{};                   // the keys of the range that some query sees
  int32_t first_req = 0, num_reqs = 0;  // PrefixMemory::order[first_req ..]
  int64_t num_tokens = 0;               // their query tokens
  int64_t first_token = 0;  // place of those in a list of the tokens of all nodes, node by node
};

// A set of requests with the same first pages whose further pages are still to be compared.
struct PendingPrefix {
  int32_t first_req, num_reqs;
  int32_t parent;  // node, or below 0
  int32_t page;    // up to which the pages are known to be equal
};

// Memory that the search writes, sized by limits.max_reqs. A tree of n requests branches at most
// n - 1 times, and pending sets are disjoint.
struct PrefixMemory {
  int32_t* order = nullptr;          // [max_reqs] requests; those of a node stand together
  int32_t* deepest = nullptr;        // [max_reqs] last node of each request, below 0: none
  SharedPrefix* nodes = nullptr;     // [max_reqs] parents before children
  PendingPrefix* pending = nullptr;  // [max_reqs]
};

struct PrefixForest {
  int32_t num_nodes = 0, num_levels = 0;
  int32_t num_reqs = 0;        // that share
  int64_t num_tokens = 0;      // of those
  int64_t num_listed = 0;      // tokens of all nodes together: at most max_levels times num_tokens
  int32_t num_refused = 0;     // nodes that would have cost more than they saved
  int64_t refused_keys = 0;    // of the largest of those, with
  int32_t refused_reqs = 0;    // so many requests
  int64_t compared_pages = 0;  // how much work the search was
};

PrefixForest find_shared_prefixes(const PrefixBatch& batch, const PrefixRules& rules,
                                  const PrefixMemory& memory);

// Attending keys of one head with rows of that head: what is computed, and what is read from memory
// where it is not in a cache, one beside the other.
// cold: the keys were not read just before
double price_of_rows(const PrefixRules& rules, int64_t keys, int64_t rows, bool cold);

}  // namespace pagoda

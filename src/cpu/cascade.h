// Cascade on the CPU: the memory in which a step's shared prefixes are found, the rows that attend
// them, and the states that those rows carry from one group to the next.
//
// A row's sums run over its keys in order: tiles of 64 within a split, splits in index order. A
// group of requests takes a stretch of that order for all of its rows and leaves, for each row, the
// two states that the order has open at the stretch's end: the total of the splits that are
// complete, and the split that is not. Whoever goes on takes them up. So the operations of a row
// are the same with and without groups, and so are its bits.
#pragma once

#include <string>

#include "../backend/backend.h"
#include "../plan/cascade.h"
#include "scratch.h"

namespace pagoda::cpu {

constexpr int32_t kMaxLevels = 8;

// A query token of a group.
struct SharedToken {
  int32_t request, token;  // token: within the request
  int32_t position;
};

// What a step does, for people and for pagoda_step_info.
struct CascadeSummary {
  PrefixForest forest;
  int64_t shared_keys;           // in ranges of groups
  int64_t keys_read, keys_flat;  // keys times tiles that read them: as scheduled, without groups
};

// The two states that a row leaves to whoever goes on with it.
enum class Left : uint8_t { total, open };

// In the regions that add_cascade_regions adds. Null where no step of the plan can share.
struct Cascade {
  PrefixMemory memory;
  SharedToken* tokens;    // [kMaxLevels * max_shared_tokens] group by group, in order of position
  int32_t* first_slot;    // [max_reqs] of each request that shares; a slot is a query token
  float* states;          // [num_kv_heads, rows_per_head, left_floats]
  int64_t rows_per_head;  // max_shared_tokens x group

  explicit Cascade(const Prepared& prepared);
};

// Floats that a row of one head leaves.
constexpr int64_t left_floats(const Geometry& geometry) {
  return kRowPadding + 2 * int64_t{geometry.padded_dim_v};
}

// Why no request can share keys with another, whatever the batch; null if they can.
const char* reason_against_cascade(const Problem& problem);

// Query tokens of requests that share, at most; 0 if none can. Bounds each level of groups.
int64_t max_shared_tokens(const Problem& problem);

void add_cascade_regions(const Problem& problem, const Geometry& geometry, WorkspaceMap& map);

// Finds the groups of a step, lists their tokens and gives their requests slots.
PrefixForest find_groups(const Prepared& prepared, const Geometry& geometry,
                         const SplitRule& splits, int num_threads);

// Bytes of one position's keys and values, all heads, with their scales.
int64_t bytes_of_key(const Problem& problem);

pagoda_step_info info_of(const Problem& problem, const CascadeSummary& summary);

// "3 groups on 2 levels: 61 requests share 1536 keys; ..." or why there are none.
std::string describe(const Problem& problem, const CascadeSummary& summary);

}  // namespace pagoda::cpu

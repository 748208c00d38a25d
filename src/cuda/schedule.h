// Host and device. The schedule of a step: which pieces of which requests the kernels work on. It is
// made on the device from the step's lengths (kernels/schedule.cu) and shared by all layers, so no
// length is ever needed on the host and a captured graph follows new lengths.
//
// Rows. The query tokens of a request times the query heads of one key head are packed: row r is
// token r / group, head r % group. Every item exists once and is run for every key head.
#pragma once

#include <cstdint>

#include "../core/mask.h"
#include "../core/splits.h"

namespace pagoda::cuda {

// Requests of up to this many rows are attended by the decode kernel, longer ones by the prefill
// kernel: a property of the request, not of the batch.
inline constexpr int32_t kMaxDecodeRows = 64;

// A request's keys are cut into at most kMaxSplits, and its rows times its splits are at most
// kMaxSplitRows: this bounds the partial states.
inline constexpr int32_t kMaxSplits = 32;
inline constexpr int32_t kMaxSplitRows = 256;

// Keys per split unless tuned otherwise. Shorter splits would spread a single request better and cost
// a full batch more than the 5 % that its independence of the batch may cost.
inline constexpr int32_t kSplitKeys = 1024;

inline constexpr int32_t kItemIsCausal = 1;
inline constexpr int32_t kItemIsPadding = 2;  // tokens of no request: out = 0, lse = -inf, no sink

// Up to rows-per-item rows of one request against one split of its keys.
struct alignas(16) DecodeItem {
  int32_t req;
  int32_t first_row;
  int32_t num_rows;  // in the item
  int32_t split;
  int32_t num_splits;
  int32_t first_slot;   // split s leaves its states in slots first_slot + s * num_rows and behind
  int32_t query_start;  // first token of the request
  int32_t query_len;
  int32_t seq_len;
  int32_t key_begin, key_end;  // keys of the split that some row sees
  int32_t flags;
};
static_assert(sizeof(DecodeItem) == 48);

// kPrefillRows rows of one request against all keys that they see.
struct alignas(16) PrefillTile {
  int32_t req;
  int32_t first_row;
  int32_t query_start, query_len;
  int32_t seq_len;
  int32_t key_begin, key_end;
  int32_t flags;
};
static_assert(sizeof(PrefillTile) == 32);

struct alignas(16) ScheduleHeader {
  int32_t num_decode_items;
  int32_t num_prefill_tiles;
  int32_t unused[2];
};

struct ScheduleParams {
  const int32_t* query_start_loc = nullptr;  // [num_reqs + 1]
  const int32_t* seq_lens = nullptr;         // [num_reqs]
  const uint8_t* causal = nullptr;           // [num_reqs] or null
  int32_t num_reqs = 0, num_tokens = 0;
  int32_t group = 1;
  int32_t rows_per_item = 8;
  int32_t rows_per_tile = 128;
  int32_t max_decode_rows = kMaxDecodeRows;
  Mask mask;
  SplitRule splits;
  ScheduleHeader* header = nullptr;
  DecodeItem* decode_items = nullptr;   // [max_decode_items]
  PrefillTile* prefill_tiles = nullptr; // [max_prefill_tiles]
};

// The rule as it applies to a request.
PAGODA_HD constexpr SplitRule bounded_rule(const SplitRule& rule, int32_t seq_len,
                                           int32_t num_rows) {
  const int32_t padded = num_rows <= 8 ? 8 : (num_rows + 15) / 16 * 16;
  const int32_t most = kMaxSplitRows / padded < 1            ? 1
                       : kMaxSplitRows / padded > kMaxSplits ? kMaxSplits
                                                             : kMaxSplitRows / padded;
  SplitRule bounded = rule;
  if (split_count(rule, seq_len) > most) bounded.num_splits = most;
  return bounded;
}

}  // namespace pagoda::cuda

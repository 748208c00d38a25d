// Host and device. The schedule of a step: which pieces of which requests the kernels work on. It
// is made on the device from the step's lengths (kernels/schedule.cu) and shared by all layers, so
// no length is ever needed on the host and a captured graph follows new lengths.
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

// A request's keys are cut into at most kMaxSplits: a function of its length alone.
inline constexpr int32_t kMaxSplits = 32;

// Keys per split unless tuned otherwise.
inline constexpr int32_t kSplitKeys = 1024;

// What one decode item is. The cuts, and the order in which their states merge, are the same for
// all three, so the choice, which is the step's, changes no bit.
enum class Piece : int32_t {
  leaf,     // of a split: few requests on many multiprocessors
  split,    // the usual one
  request,  // all splits, one after the other: where partial states would not fit the workspace
};

inline constexpr int32_t kItemIsCausal = 1;
inline constexpr int32_t kItemIsPadding = 2;  // tokens of no request: out = 0, lse = -inf, no sink

inline constexpr int32_t kItemIsLeaf = 4;  // its piece is a leaf, not a split or the request

// Up to rows-per-item rows of one request against one piece of its keys.
struct alignas(16) DecodeItem {
  int32_t req;
  int32_t first_row;
  int32_t num_rows;     // in the item
  int32_t piece;        // split of the request; as a leaf, kLeaves * split + leaf. Counted from the
                        // split of row_keys_begin
  int32_t num_pieces;   // that exist, of these rows
  int32_t first_slot;   // piece p leaves its states in slots first_slot + p * num_rows and behind
  int32_t query_start;  // first token of the request
  int32_t query_len;
  int32_t seq_len;
  int32_t key_begin, key_end;  // keys of the piece that some row sees
  int32_t flags;
  int32_t split_len, leaf_len;           // keys
  int32_t row_keys_begin, row_keys_end;  // keys that some row sees
};
static_assert(sizeof(DecodeItem) == 64);

// rows_per_tile rows of one request against all keys that they see.
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
  int32_t num_decode_blocks;  // that share the items
  int32_t unused;
};

struct ScheduleParams {
  const int32_t* query_start_loc = nullptr;  // [num_reqs + 1]
  const int32_t* seq_lens = nullptr;         // [num_reqs]
  const uint8_t* causal = nullptr;           // [num_reqs] or null
  int32_t num_reqs = 0, num_tokens = 0;
  int32_t group = 1;
  int32_t rows_per_item = 8;
  int32_t rows_per_tile = 128;
  int32_t max_decode_rows = kMaxDecodeRows;  // 0: all requests, and padding, are tiles
  int32_t num_kv_heads = 1;
  int32_t num_decode_blocks = 1;         // of the launch
  int32_t max_items = 0, max_slots = 0;  // what the arrays hold; slots of one key head
  Mask mask;
  SplitRule splits;
  ScheduleHeader* header = nullptr;
  DecodeItem* decode_items = nullptr;    // [max_items]
  PrefillTile* prefill_tiles = nullptr;  // [max_prefill_tiles]
};

}  // namespace pagoda::cuda

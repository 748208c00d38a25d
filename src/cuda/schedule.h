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

inline constexpr int32_t kMaxPieces = kMaxSplits * kLeaves;

// Keys per split unless tuned otherwise.
inline constexpr int32_t kSplitKeys = 1024;

// A short request of few rows has short splits, of which the usual step has one worker attend all:
// on an empty device a request is a chain of waits, and many workers shorten it. Caches of codes
// are read too fast for what that costs in a full step, and keep the usual splits.
inline constexpr int32_t kShortKeys = 1024, kShortRows = 8, kShortSplitKeys = 256;

// What one decode item is. The cuts, and the order in which their states merge, are the same for
// all, so the choice, which is the step's, changes no bit.
enum class Piece : int32_t {
  leaf,     // of a split: few requests on many multiprocessors
  split,    // the usual one
  request,  // all splits, one after the other: where partial states would not fit the workspace
};

// The step's choice, from many workers to few: what a long request is cut into, and a short one.
enum class Fineness : int32_t {
  leaves,             // leaves, leaves
  leaves_and_splits,  // leaves, splits
  splits,             // splits, the request
  requests,           // the request, the request
};

inline constexpr int32_t kItemIsCausal = 1;
inline constexpr int32_t kItemIsPadding = 2;  // tokens of no request: out = 0, lse = -inf, no sink

inline constexpr int32_t kItemIsLeaf = 4;  // its piece is a leaf, not a split or the request

// No block of the step has a second item. Whoever starts last among a request's pieces merges them:
// then the others are running already, and it may wait for their states word by word.
inline constexpr int32_t kItemIsAlone = 8;

// The halves of a tile are not neighbours; it is its block's only one.
inline constexpr int32_t kTileIsPaired = 16;

// A word of a partial state that has not been written yet: no arithmetic makes this NaN.
inline constexpr uint32_t kNotYet = 0xffffffffu;

// Up to rows-per-item rows of one request against one piece of its keys.
struct alignas(16) DecodeItem {
  int32_t req;
  int32_t first_row;
  int32_t num_rows;     // in the item
  int32_t piece;        // split of the request; as a leaf, leaves of a split * split + leaf.
                        // Counted from the split of row_keys_begin
  int32_t num_pieces;   // that exist, of these rows
  int32_t first_slot;   // piece p leaves its states in slots first_slot + p * num_rows and behind;
                        // alone, in these or in the set of slots behind them all
  int32_t query_start;  // first token of the request
  int32_t query_len;
  int32_t seq_len;
  int32_t key_begin, key_end;  // keys of the piece that some row sees
  int32_t flags;
  int32_t split_len, leaf_len;           // keys
  int32_t row_keys_begin, row_keys_end;  // keys that some row sees
};
static_assert(sizeof(DecodeItem) == 64);

// Where no block of the prefill kernel has a second tile, the step takes as long as its longest
// tile, and the warp groups of a block share the tensor cores. So a tile's halves, which are a warp
// group's each, are then rows that see many keys and rows that see few.
inline constexpr int32_t kHalfTileRows = 64;

// rows_per_tile rows of one request against all keys that they see.
struct alignas(16) PrefillTile {
  int32_t req;
  int32_t first_row;
  int32_t second_row;  // of the tile's second half; behind the request's last row: there is none
  int32_t query_start, query_len;
  int32_t seq_len;
  int32_t key_begin, key_end;
  int32_t flags;
  int32_t unused[3];
};
static_assert(sizeof(PrefillTile) == 48);

struct alignas(16) ScheduleHeader {
  int32_t num_decode_items;
  int32_t num_prefill_tiles;
  int32_t num_decode_blocks;  // that share the items
  int32_t unused;
};

#ifdef __CUDACC__
// Which kernels have a part in the step. Past the first-level cache, where a line may be left from
// before the schedule, as this is asked before earlier kernels are waited for.
__device__ inline bool has_items(const ScheduleHeader* schedule) {
  return __ldcg(&schedule->num_decode_items) > 0;
}
__device__ inline bool has_tiles(const ScheduleHeader* schedule) {
  return __ldcg(&schedule->num_prefill_tiles) > 0;
}
__device__ inline bool has_both(const ScheduleHeader* schedule) {
  return has_items(schedule) && has_tiles(schedule);
}
#endif

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
  int32_t num_prefill_blocks = 0;        // likewise; 0: of a kernel without halves
  int32_t max_items = 0, max_slots = 0;  // what the arrays hold; slots of one key head
  Mask mask;
  SplitRule splits;
  bool has_short_splits = false;  // where the rule leaves it open
  int32_t head_dim_v = 0;
  float* partial_out = nullptr;  // [slots of all key heads, head_dim_v], as in AttendParams
  float* partial_ml = nullptr;   // [slots of all key heads, 2]
  ScheduleHeader* header = nullptr;
  DecodeItem* decode_items = nullptr;    // [max_items]
  PrefillTile* prefill_tiles = nullptr;  // [max_prefill_tiles]
};

}  // namespace pagoda::cuda

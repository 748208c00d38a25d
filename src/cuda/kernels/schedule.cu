// Turns a step's lengths into the lists of items that the attention kernels walk: once per step,
// one block, no length on the host. Requests are cut by properties of their own (core/splits.h);
// prefill tiles are put in order of falling length, so that the last ones to start are short.
#include "../device/block_scan.cuh"
#include "../device/ptx.cuh"
#include "../launch.h"
#include "../schedule.h"

namespace pagoda::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kClearers = 24;         // blocks
constexpr int kLengthClasses = 1024;  // of prefill tiles
constexpr int kKeysPerClass = 128;

struct Request {
  int req, query_start, query_len, seq_len, flags;
  Mask mask;

  __device__ Request(const ScheduleParams& params, int req)
      : req(req),
        query_start(params.query_start_loc[req]),
        query_len(params.query_start_loc[req + 1] - query_start),
        seq_len(max(params.seq_lens[req], 0)),
        flags((params.causal ? params.causal[req] != 0 : params.mask.causal) ? kItemIsCausal : 0),
        mask(mask_of_request(params.mask, flags & kItemIsCausal)) {}

  __device__ int num_rows(const ScheduleParams& params) const { return query_len * params.group; }

  // Keys that the packed rows [first, last] see; {0, 0} if none.
  __device__ KeyRange keys_of(const ScheduleParams& params, int first, int last) const {
    const int context = seq_len - query_len;
    const KeyRange keys =
        any_visible(mask, context + first / params.group, context + last / params.group, seq_len);
    return keys.empty() ? KeyRange{0, 0} : keys;
  }
};

__device__ bool goes_to_decode(const ScheduleParams& params, const Request& request) {
  return request.num_rows(params) <= params.max_decode_rows;
}

__device__ bool is_short(const ScheduleParams& params, const Request& request) {
  return params.has_short_splits && request.seq_len <= kShortKeys &&
         request.num_rows(params) <= kShortRows;
}

__device__ SplitRule rule_of(const ScheduleParams& params, const Request& request) {
  SplitRule rule = with_at_most(params.splits, kMaxSplits, request.seq_len);
  if (is_short(params, request)) rule.automatic = min(rule.automatic, kShortSplitKeys);
  return rule;
}

__device__ Piece piece_of(const ScheduleParams& params, const Request& request, Fineness fineness) {
  switch (fineness) {
    case Fineness::leaves:
      return Piece::leaf;
    case Fineness::leaves_and_splits:
      return is_short(params, request) ? Piece::split : Piece::leaf;
    case Fineness::splits:
      return is_short(params, request) ? Piece::request : Piece::split;
    default:
      return Piece::request;
  }
}

// Where the keys of a request are cut.
struct Cuts {
  int split_len, leaf_len, leaves;  // leaves: of a split

  __device__ Cuts(const ScheduleParams& params, const Request& request) {
    const SplitRule rule = rule_of(params, request);
    const int64_t len = pagoda::split_len(rule, request.seq_len);
    split_len = static_cast<int>(min(len, int64_t{INT32_MAX}));
    leaf_len = static_cast<int>(min(pagoda::leaf_len(rule, len), int64_t{INT32_MAX}));
    leaves = (split_len - 1) / leaf_len + 1;
  }
  // How many leaves lie in front of the one that `key` is in.
  __device__ int leaf_of(int key) const {
    return key / split_len * leaves + key % split_len / leaf_len;
  }
  __device__ int num_splits(const KeyRange& keys) const {
    return keys.empty() ? 1 : (keys.end - 1) / split_len - keys.begin / split_len + 1;
  }
  __device__ int num_pieces(const KeyRange& keys, Piece piece) const {
    if (keys.empty() || piece == Piece::request) return 1;
    return piece == Piece::split ? num_splits(keys)
                                 : leaf_of(keys.end - 1) - leaf_of(keys.begin) + 1;
  }
  // The end of the piece that starts at `begin`.
  __device__ int end_of(const KeyRange& keys, int begin, Piece piece) const {
    const int in_split = begin % split_len;
    int left = piece == Piece::request ? keys.end - begin : split_len - in_split;
    if (piece == Piece::leaf) left = min(left, leaf_len - in_split % leaf_len);
    return begin + min(left, keys.end - begin);
  }
  // Whether the piece that starts at `begin` is a split with fewer keys than a split may have. That
  // is so of the first and of the last at most.
  __device__ bool is_short(const KeyRange& keys, int begin, Piece piece) const {
    return piece == Piece::split && end_of(keys, begin, piece) - begin < split_len;
  }
  __device__ int num_short(const KeyRange& keys, Piece piece) const {
    const int last_begin = (keys.end - 1) / split_len * split_len;
    return is_short(keys, keys.begin, piece) +
           (last_begin > keys.begin && is_short(keys, last_begin, piece));
  }
  // Its number, see DecodeItem.
  __device__ int number_of(const KeyRange& keys, int begin, Piece piece) const {
    const int split = begin / split_len - keys.begin / split_len;
    if (piece == Piece::leaf) return split * leaves + begin % split_len / leaf_len;
    return piece == Piece::split ? split : 0;
  }
  // Rows of partial states that num_rows rows need.
  __device__ int num_slots(const KeyRange& keys, Piece piece, int num_rows) const {
    const int splits = num_splits(keys);
    if (piece == Piece::request) return splits > 1 ? num_rows : 0;
    if (num_pieces(keys, piece) == 1) return 0;
    return num_rows * splits * (piece == Piece::leaf ? leaves : 1);
  }
};

// Calls visit(first row, last row, keys) for every item's rows of a request.
template <class Visit>
__device__ void for_rows(const ScheduleParams& params, const Request& request, Visit visit) {
  const int num_rows = request.num_rows(params);
  for (int row = 0; row < num_rows; row += params.rows_per_item) {
    const int last = min(row + params.rows_per_item, num_rows) - 1;
    visit(row, last, request.keys_of(params, row, last));
  }
}

struct Sums {
  int items, slots;
  int short_items;  // of the items, see Cuts
};

__device__ Sums sums_of(const ScheduleParams& params, int req, Fineness fineness) {
  Sums sums{};
  if (req >= params.num_reqs) return sums;
  const Request request(params, req);
  if (!goes_to_decode(params, request)) return sums;
  const Cuts cuts(params, request);
  const Piece piece = piece_of(params, request, fineness);
  for_rows(params, request, [&](int first, int last, const KeyRange& keys) {
    sums.items += cuts.num_pieces(keys, piece);
    sums.slots += cuts.num_slots(keys, piece, last - first + 1);
    sums.short_items += cuts.num_short(keys, piece);
  });
  return sums;
}

struct Sums64 {
  int64_t items, slots;
  int short_items;
};

// A choice for the step and what comes of it.
struct Choice {
  Fineness fineness;
  int items, short_items;
  bool alone;
};

// Where the items of a request go in the list: whole ones in front, in the order of rows, then of
// keys; short ones behind them, so that the blocks end together.
struct Places {
  int whole, shorter, slot;
};

// Sets of slots that an item has; where it is alone, launches use them by turns.
__device__ int num_sets(bool alone) {
  return alone ? 2 : 1;
}

__device__ void list_request(const ScheduleParams& params, int req, const Choice& choice,
                             Places places) {
  const Request request(params, req);
  const Cuts cuts(params, request);
  const Piece piece = piece_of(params, request, choice.fineness);
  const int flags =
      request.flags | (piece == Piece::leaf ? kItemIsLeaf : 0) | (choice.alone ? kItemIsAlone : 0);
  for_rows(params, request, [&](int first, int last, const KeyRange& keys) {
    int begin = keys.begin;
    do {
      const int end = cuts.end_of(keys, begin, piece);
      const int index = cuts.is_short(keys, begin, piece) ? places.shorter++ : places.whole++;
      params.decode_items[index] = {.req = req,
                                    .first_row = first,
                                    .num_rows = last - first + 1,
                                    .piece = cuts.number_of(keys, begin, piece),
                                    .num_pieces = cuts.num_pieces(keys, piece),
                                    .first_slot = places.slot,
                                    .query_start = request.query_start,
                                    .query_len = request.query_len,
                                    .seq_len = request.seq_len,
                                    .key_begin = begin,
                                    .key_end = end,
                                    .flags = flags,
                                    .split_len = cuts.split_len,
                                    .leaf_len = cuts.leaf_len,
                                    .row_keys_begin = keys.begin,
                                    .row_keys_end = keys.end};
      begin = end;
    } while (begin < keys.end);
    places.slot += cuts.num_slots(keys, piece, last - first + 1) * num_sets(choice.alone);
  });
}

__device__ int num_padding_items(const ScheduleParams& params) {
  const int num_rows =
      max(params.num_tokens - params.query_start_loc[params.num_reqs], 0) * params.group;
  return (num_rows + params.rows_per_item - 1) / params.rows_per_item;
}

// Slots, of all key heads, that a step without second items may use.
__device__ int64_t num_awaited_slots(const ScheduleParams& params) {
  return min(int64_t{params.max_slots} * params.num_kv_heads,
             int64_t{params.num_decode_blocks} * params.rows_per_item * num_sets(true));
}

// The step's choice: the finest that leaves no block a second item; failing that leaves of long
// requests while splits would leave half of the blocks without work; and whatever fits the
// workspace.
__device__ Choice choose_pieces(const ScheduleParams& params, bool mixed, int* scratch) {
  const auto sum_up = [&](Fineness fineness) {
    Sums64 sums{};
    for (int base = 0; base < params.num_reqs; base += kThreads) {
      const Sums mine = sums_of(params, base + static_cast<int>(threadIdx.x), fineness);
      int total;
      exclusive_sum(mine.items, total, scratch), sums.items += total;
      exclusive_sum(mine.slots, total, scratch), sums.slots += total;
      exclusive_sum(mine.short_items, total, scratch), sums.short_items += total;
    }
    return sums;
  };
  const int64_t heads = params.num_kv_heads, blocks = params.num_decode_blocks;
  const Sums64 coarse = sum_up(Fineness::splits);
  const bool has_idle_blocks = 2 * coarse.items * heads <= blocks;
  for (const Fineness fineness :
       {Fineness::leaves, Fineness::leaves_and_splits, Fineness::splits, Fineness::requests}) {
    const bool is_fine = fineness < Fineness::splits;
    if (is_fine && !has_idle_blocks) continue;
    const Sums64 sums = fineness == Fineness::splits ? coarse : sum_up(fineness);
    const bool alone = !mixed && params.rows_per_item <= 8 &&
                       sums.slots * num_sets(true) * heads <= num_awaited_slots(params) &&
                       (sums.items + num_padding_items(params)) * heads <= blocks;
    const bool fits = sums.items <= params.max_items && sums.slots <= params.max_slots;
    const bool wanted = fits && (fineness != Fineness::leaves || alone);
    if (wanted || fineness == Fineness::requests)
      return {fineness, static_cast<int>(sums.items), sums.short_items, alone};
  }
  return {};
}

// Writes the items of all requests; returns their number.
__device__ int list_decode_items(const ScheduleParams& params, bool mixed, int* scratch) {
  const Choice choice = choose_pieces(params, mixed, scratch);
  Places next{0, choice.items - choice.short_items, 0};
  for (int base = 0; base < params.num_reqs; base += kThreads) {
    const int req = base + static_cast<int>(threadIdx.x);
    const Sums mine = sums_of(params, req, choice.fineness);
    int whole, shorter, slots;
    Places own = next;
    own.whole += exclusive_sum(mine.items - mine.short_items, whole, scratch);
    own.shorter += exclusive_sum(mine.short_items, shorter, scratch);
    own.slot += exclusive_sum(mine.slots * num_sets(choice.alone), slots, scratch);
    if (mine.items > 0) list_request(params, req, choice, own);
    next = {next.whole + whole, next.shorter + shorter, next.slot + slots};
  }
  return choice.items;
}

// Tokens behind the last request.
__device__ int list_padding(const ScheduleParams& params, int listed) {
  const int first = params.query_start_loc[params.num_reqs];
  const int num_rows = max(params.num_tokens - first, 0) * params.group;
  const int num_items = num_padding_items(params);
  for (int i = threadIdx.x; i < num_items; i += kThreads) {
    const int row = i * params.rows_per_item;
    params.decode_items[listed + i] = {.first_row = row,
                                       .num_rows = min(params.rows_per_item, num_rows - row),
                                       .num_pieces = 1,
                                       .query_start = first,
                                       .query_len = params.num_tokens - first,
                                       .flags = kItemIsPadding,
                                       .split_len = 1,
                                       .leaf_len = 1};
  }
  return num_items;
}

__device__ int num_tiles_of(const ScheduleParams& params, const Request& request) {
  return (request.num_rows(params) + params.rows_per_tile - 1) / params.rows_per_tile;
}

// Whether every tile gets a block of its own, and no decode items have blocks.
__device__ bool tiles_are_alone(const ScheduleParams& params, int* scratch) {
  if (params.num_prefill_blocks == 0) return false;
  int tiles = 0, decodes = 0;
  for (int req = threadIdx.x; req < params.num_reqs; req += kThreads) {
    const Request request(params, req);
    if (goes_to_decode(params, request))
      decodes += request.query_len > 0;
    else
      tiles += num_tiles_of(params, request);
  }
  int num_tiles, num_decodes;
  exclusive_sum(tiles, num_tiles, scratch);
  exclusive_sum(decodes, num_decodes, scratch);
  return num_decodes == 0 && int64_t{num_tiles} * params.num_kv_heads <= params.num_prefill_blocks;
}

// The rows of a tile; second: of its second half.
struct TileRows {
  int first, second;
};
// Tile number `tile` of a request. Paired: the last half of the request with its first, and so on
// inwards; the one in the middle stays by itself.
__device__ TileRows rows_of_tile(const ScheduleParams& params, int num_rows, int tile,
                                 bool is_paired) {
  if (!is_paired) {
    const int first = tile * params.rows_per_tile;
    return {first, first + kHalfTileRows};
  }
  const int last_half = (num_rows - 1) / kHalfTileRows - tile;
  return {last_half * kHalfTileRows, last_half == tile ? num_rows : tile * kHalfTileRows};
}

// alone: see tiles_are_alone.
template <class Visit>
__device__ void for_prefill_tiles(const ScheduleParams& params, const Request& request, bool alone,
                                  Visit visit) {
  const int num_rows = request.num_rows(params);
  const bool is_paired = alone && request.mask.causal && request.mask.window_left < 0;
  for (int tile = 0; tile < num_tiles_of(params, request); ++tile) {
    const TileRows rows = rows_of_tile(params, num_rows, tile, is_paired);
    const int end = rows.first + (is_paired ? kHalfTileRows : params.rows_per_tile);
    const KeyRange keys = request.keys_of(
        params, is_paired ? min(rows.first, rows.second) : rows.first, min(end, num_rows) - 1);
    visit(PrefillTile{.req = request.req,
                      .first_row = rows.first,
                      .second_row = rows.second,
                      .query_start = request.query_start,
                      .query_len = request.query_len,
                      .seq_len = request.seq_len,
                      .key_begin = keys.begin,
                      .key_end = keys.end,
                      .flags = request.flags | (is_paired ? kTileIsPaired : 0)});
  }
}

// Long tiles are in low classes.
__device__ int class_of(const PrefillTile& tile) {
  return max(kLengthClasses - 1 - (tile.key_end - tile.key_begin) / kKeysPerClass, 0);
}

// A counting sort by length class.
__device__ int list_prefill_tiles(const ScheduleParams& params, int* class_count, int* scratch) {
  static_assert(kLengthClasses == kThreads);
  const bool alone = tiles_are_alone(params, scratch);
  class_count[threadIdx.x] = 0;
  __syncthreads();
  for (int req = threadIdx.x; req < params.num_reqs; req += kThreads) {
    const Request request(params, req);
    if (goes_to_decode(params, request)) continue;
    for_prefill_tiles(params, request, alone,
                      [&](const PrefillTile& tile) { atomicAdd(&class_count[class_of(tile)], 1); });
  }
  __syncthreads();
  int total;
  const int first = exclusive_sum(class_count[threadIdx.x], total, scratch);
  class_count[threadIdx.x] = first;
  __syncthreads();
  for (int req = threadIdx.x; req < params.num_reqs; req += kThreads) {
    const Request request(params, req);
    if (goes_to_decode(params, request)) continue;
    for_prefill_tiles(params, request, alone, [&](const PrefillTile& tile) {
      params.prefill_tiles[atomicAdd(&class_count[class_of(tile)], 1)] = tile;
    });
  }
  return total;
}

// Tokens behind the last request as tiles without keys; returns the number of all tiles.
__device__ int list_padding_tiles(const ScheduleParams& params, int listed) {
  const int first = params.query_start_loc[params.num_reqs];
  const int num_rows = max(params.num_tokens - first, 0) * params.group;
  const int num_tiles = (num_rows + params.rows_per_tile - 1) / params.rows_per_tile;
  for (int i = threadIdx.x; i < num_tiles; i += kThreads)
    params.prefill_tiles[listed + i] = {.first_row = i * params.rows_per_tile,
                                        .second_row = i * params.rows_per_tile + kHalfTileRows,
                                        .query_start = first,
                                        .query_len = params.num_tokens - first,
                                        .flags = kItemIsPadding};
  return listed + num_tiles;
}

__device__ void make_lists(const ScheduleParams& params) {
  __shared__ int scratch[32];
  __shared__ int class_count[kLengthClasses];
  const bool decodes = params.max_decode_rows > 0;
  int num_tiles = list_prefill_tiles(params, class_count, scratch);
  const int num_items = decodes ? list_decode_items(params, num_tiles > 0, scratch) : 0;
  const int num_padding = decodes ? list_padding(params, num_items) : 0;
  if (!decodes) num_tiles = list_padding_tiles(params, num_tiles);
  // Beside prefill tiles some multiprocessors are left to those from the start.
  const int blocks = num_tiles == 0 ? params.num_decode_blocks : params.num_decode_blocks * 4 / 5;
  if (threadIdx.x == 0)
    *params.header = {.num_decode_items = num_items + num_padding,
                      .num_prefill_tiles = num_tiles,
                      .num_decode_blocks = blocks};
}

// Of a step without second items, see kItemIsAlone; the kernel that reads states takes them away.
__device__ void clear_partial_states(const ScheduleParams& params) {
  const int64_t slots = num_awaited_slots(params);
  const int64_t first = (blockIdx.x - 1) * kThreads + threadIdx.x, step = kClearers * kThreads;
  for (int64_t i = first; i < slots * params.head_dim_v; i += step)
    params.partial_out[i] = __uint_as_float(kNotYet);
  for (int64_t i = first; i < slots * 2; i += step) params.partial_ml[i] = __uint_as_float(kNotYet);
}

// The first block makes the lists. The next kernel comes when both are done, because attention
// looks at the lists before it waits for anything.
__global__ void __launch_bounds__(kThreads)
    make_schedule(const __grid_constant__ ScheduleParams params) {
  wait_for_earlier_kernels();
  if (blockIdx.x == 0)
    make_lists(params);
  else
    clear_partial_states(params);
  __threadfence();
  __syncthreads();
  allow_next_kernel();
}

}  // namespace

void launch_schedule(const ScheduleParams& params, cudaStream_t stream) {
  launch(reinterpret_cast<const void*>(&make_schedule),
         {.blocks = params.max_decode_rows > 0 ? 1 + kClearers : 1, .threads = kThreads}, params,
         stream, "launching the schedule kernel");
}

}  // namespace pagoda::cuda

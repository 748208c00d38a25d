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

// Where the keys of a request are cut.
struct Cuts {
  int split_len, leaf_len, leaves;  // leaves: of a split, at most kLeaves

  __device__ Cuts(const ScheduleParams& params, const Request& request) {
    const SplitRule rule = with_at_most(params.splits, kMaxSplits, request.seq_len);
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
  // Its number, see DecodeItem.
  __device__ int number_of(const KeyRange& keys, int begin, Piece piece) const {
    const int split = begin / split_len - keys.begin / split_len;
    if (piece == Piece::leaf) return split * kLeaves + begin % split_len / leaf_len;
    return piece == Piece::split ? split : 0;
  }
  // Rows of partial states that num_rows rows need.
  __device__ int num_slots(const KeyRange& keys, Piece piece, int num_rows) const {
    const int splits = num_splits(keys);
    if (piece == Piece::request) return splits > 1 ? num_rows : 0;
    if (num_pieces(keys, piece) == 1) return 0;
    return num_rows * splits * (piece == Piece::leaf ? kLeaves : 1);
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
};

__device__ Sums sums_of(const ScheduleParams& params, int req, Piece piece) {
  Sums sums{};
  if (req >= params.num_reqs) return sums;
  const Request request(params, req);
  if (!goes_to_decode(params, request)) return sums;
  const Cuts cuts(params, request);
  for_rows(params, request, [&](int first, int last, const KeyRange& keys) {
    sums.items += cuts.num_pieces(keys, piece);
    sums.slots += cuts.num_slots(keys, piece, last - first + 1);
  });
  return sums;
}

// Writes the items of a request, in the order of rows, then of keys.
__device__ void list_request(const ScheduleParams& params, int req, Piece piece, int index,
                             int slot) {
  const Request request(params, req);
  const Cuts cuts(params, request);
  for_rows(params, request, [&](int first, int last, const KeyRange& keys) {
    int begin = keys.begin;
    do {
      const int end = cuts.end_of(keys, begin, piece);
      params.decode_items[index++] = {
          .req = req,
          .first_row = first,
          .num_rows = last - first + 1,
          .piece = cuts.number_of(keys, begin, piece),
          .num_pieces = cuts.num_pieces(keys, piece),
          .first_slot = slot,
          .query_start = request.query_start,
          .query_len = request.query_len,
          .seq_len = request.seq_len,
          .key_begin = begin,
          .key_end = end,
          .flags = request.flags | (piece == Piece::leaf ? kItemIsLeaf : 0),
          .split_len = cuts.split_len,
          .leaf_len = cuts.leaf_len,
          .row_keys_begin = keys.begin,
          .row_keys_end = keys.end};
      begin = end;
    } while (begin < keys.end);
    slot += cuts.num_slots(keys, piece, last - first + 1);
  });
}

// The step's choice: leaves while splits would leave half of the blocks without work, and whatever
// fits the workspace.
__device__ Piece choose_piece(const ScheduleParams& params, int* scratch) {
  for (const Piece piece : {Piece::leaf, Piece::split}) {
    const Piece coarse = Piece::split;
    int64_t all = 0, all_coarse = 0, slots = 0;
    for (int base = 0; base < params.num_reqs; base += kThreads) {
      const Sums mine = sums_of(params, base + static_cast<int>(threadIdx.x), piece);
      const Sums split =
          piece == coarse ? mine : sums_of(params, base + static_cast<int>(threadIdx.x), coarse);
      int total;
      exclusive_sum(mine.items, total, scratch), all += total;
      exclusive_sum(mine.slots, total, scratch), slots += total;
      exclusive_sum(split.items, total, scratch), all_coarse += total;
    }
    const bool fits = all <= params.max_items && slots <= params.max_slots;
    const bool wanted =
        piece == coarse || 2 * all_coarse * params.num_kv_heads <= params.num_decode_blocks;
    if (fits && wanted) return piece;
  }
  return Piece::request;
}

// Appends the items of all requests; returns their number.
__device__ int list_decode_items(const ScheduleParams& params, int* scratch) {
  const Piece piece = choose_piece(params, scratch);
  int listed = 0, slots_used = 0;
  for (int base = 0; base < params.num_reqs; base += kThreads) {
    const int req = base + static_cast<int>(threadIdx.x);
    const Sums mine = sums_of(params, req, piece);
    int total, total_slots;
    const int index = listed + exclusive_sum(mine.items, total, scratch);
    const int slot = slots_used + exclusive_sum(mine.slots, total_slots, scratch);
    if (mine.items > 0) list_request(params, req, piece, index, slot);
    listed += total;
    slots_used += total_slots;
  }
  return listed;
}

// Tokens behind the last request.
__device__ int list_padding(const ScheduleParams& params, int listed) {
  const int first = params.query_start_loc[params.num_reqs];
  const int num_rows = max(params.num_tokens - first, 0) * params.group;
  const int num_items = (num_rows + params.rows_per_item - 1) / params.rows_per_item;
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

// Items behind the last that the blocks of the decode kernel fetch before they know how many there
// are: nobody looks at them, but memory that is read has been written.
__device__ void clear_unused_items(const ScheduleParams& params, int listed) {
  const int end = min(params.max_items, params.num_decode_blocks);
  for (int i = listed + threadIdx.x; i < end; i += kThreads) params.decode_items[i] = {};
}

template <class Visit>
__device__ void for_prefill_tiles(const ScheduleParams& params, const Request& request,
                                  Visit visit) {
  const int num_rows = request.num_rows(params);
  for (int row = 0; row < num_rows; row += params.rows_per_tile) {
    const int last = min(row + params.rows_per_tile, num_rows) - 1;
    const KeyRange keys = request.keys_of(params, row, last);
    visit(PrefillTile{.req = request.req,
                      .first_row = row,
                      .query_start = request.query_start,
                      .query_len = request.query_len,
                      .seq_len = request.seq_len,
                      .key_begin = keys.begin,
                      .key_end = keys.end,
                      .flags = request.flags});
  }
}

// Long tiles are in low classes.
__device__ int class_of(const PrefillTile& tile) {
  return max(kLengthClasses - 1 - (tile.key_end - tile.key_begin) / kKeysPerClass, 0);
}

// A counting sort by length class.
__device__ int list_prefill_tiles(const ScheduleParams& params, int* class_count, int* scratch) {
  static_assert(kLengthClasses == kThreads);
  class_count[threadIdx.x] = 0;
  __syncthreads();
  for (int req = threadIdx.x; req < params.num_reqs; req += kThreads) {
    const Request request(params, req);
    if (goes_to_decode(params, request)) continue;
    for_prefill_tiles(params, request,
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
    for_prefill_tiles(params, request, [&](const PrefillTile& tile) {
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
                                        .query_start = first,
                                        .query_len = params.num_tokens - first,
                                        .flags = kItemIsPadding};
  return listed + num_tiles;
}

__global__ void __launch_bounds__(kThreads)
    make_schedule(const __grid_constant__ ScheduleParams params) {
  wait_for_earlier_kernels();
  allow_next_kernel();
  __shared__ int scratch[32];
  __shared__ int class_count[kLengthClasses];
  const bool decodes = params.max_decode_rows > 0;
  const int num_requests_items = decodes ? list_decode_items(params, scratch) : 0;
  const int num_padding_items = decodes ? list_padding(params, num_requests_items) : 0;
  clear_unused_items(params, num_requests_items + num_padding_items);
  int num_tiles = list_prefill_tiles(params, class_count, scratch);
  if (!decodes) num_tiles = list_padding_tiles(params, num_tiles);
  // Beside prefill tiles some multiprocessors are left to those from the start.
  const int blocks = num_tiles == 0 ? params.num_decode_blocks : params.num_decode_blocks * 4 / 5;
  if (threadIdx.x == 0)
    *params.header = {.num_decode_items = num_requests_items + num_padding_items,
                      .num_prefill_tiles = num_tiles,
                      .num_decode_blocks = blocks};
}

}  // namespace

void launch_schedule(const ScheduleParams& params, cudaStream_t stream) {
  launch(reinterpret_cast<const void*>(&make_schedule), {.blocks = 1, .threads = kThreads}, params,
         stream, "launching the schedule kernel");
}

}  // namespace pagoda::cuda

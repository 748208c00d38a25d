// Turns a step's lengths into the lists of items that the attention kernels walk: once per step, one
// block, no length on the host. Requests are cut by properties of their own (core/splits.h); prefill
// tiles are put in order of falling length, so that the last ones to start are short.
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
    const KeyRange keys = any_visible(mask, context + first / params.group,
                                      context + last / params.group, seq_len);
    return keys.empty() ? KeyRange{0, 0} : keys;
  }
};

__device__ bool goes_to_decode(const ScheduleParams& params, const Request& request) {
  return request.num_rows(params) <= params.max_decode_rows;
}

// Calls visit(item) for every decode item of a request, in the order of rows, then splits.
template <class Visit>
__device__ void for_decode_items(const ScheduleParams& params, const Request& request,
                                 Visit visit) {
  const SplitRule rule = bounded_rule(params.splits, request.seq_len, request.num_rows(params));
  const int64_t len = split_len(rule, request.seq_len);
  const int num_rows = request.num_rows(params);
  for (int row = 0; row < num_rows; row += params.rows_per_item) {
    const int last = min(row + params.rows_per_item, num_rows) - 1;
    const KeyRange keys = request.keys_of(params, row, last);
    const int first_split = static_cast<int>(keys.begin / len);
    const int end_split = max(static_cast<int>((keys.end + len - 1) / len), first_split + 1);
    for (int split = first_split; split < end_split; ++split) {
      const int begin = max(keys.begin, static_cast<int>(split * len));
      const int64_t end = min(static_cast<int64_t>(keys.end), (split + 1) * len);
      visit(DecodeItem{.req = request.req,
                       .first_row = row,
                       .num_rows = last - row + 1,
                       .split = split - first_split,
                       .num_splits = end_split - first_split,
                       .query_start = request.query_start,
                       .query_len = request.query_len,
                       .seq_len = request.seq_len,
                       .key_begin = begin,
                       .key_end = static_cast<int>(end),
                       .flags = request.flags});
    }
  }
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

// Appends the items of all requests; returns their number.
__device__ int list_decode_items(const ScheduleParams& params, int* scratch) {
  int listed = 0, slots_used = 0;
  for (int base = 0; base < params.num_reqs; base += kThreads) {
    const int req = base + static_cast<int>(threadIdx.x);
    const bool mine = req < params.num_reqs && goes_to_decode(params, Request(params, req));
    int count = 0, slots = 0;
    if (mine)
      for_decode_items(params, Request(params, req), [&](const DecodeItem& item) {
        ++count;
        slots += item.num_splits > 1 ? item.num_rows : 0;
      });
    int total, total_slots;
    int index = listed + exclusive_sum(count, total, scratch);
    int slot = slots_used + exclusive_sum(slots, total_slots, scratch);
    if (mine)
      for_decode_items(params, Request(params, req), [&](DecodeItem item) {
        item.first_slot = slot - item.split * item.num_rows;
        slot += item.num_splits > 1 ? item.num_rows : 0;
        params.decode_items[index++] = item;
      });
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
                                       .num_splits = 1,
                                       .query_start = first,
                                       .query_len = params.num_tokens - first,
                                       .flags = kItemIsPadding};
  }
  return num_items;
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

__global__ void __launch_bounds__(kThreads)
    make_schedule(const __grid_constant__ ScheduleParams params) {
  wait_for_earlier_kernels();
  allow_next_kernel();
  __shared__ int scratch[32];
  __shared__ int class_count[kLengthClasses];
  const int num_requests_items = list_decode_items(params, scratch);
  const int num_padding_items = list_padding(params, num_requests_items);
  const int num_tiles = list_prefill_tiles(params, class_count, scratch);
  if (threadIdx.x == 0)
    *params.header = {.num_decode_items = num_requests_items + num_padding_items,
                      .num_prefill_tiles = num_tiles};
}

}  // namespace

void launch_schedule(const ScheduleParams& params, cudaStream_t stream) {
  launch(reinterpret_cast<const void*>(&make_schedule), {.blocks = 1, .threads = kThreads}, params,
         stream, "launching the schedule kernel");
}

}  // namespace pagoda::cuda

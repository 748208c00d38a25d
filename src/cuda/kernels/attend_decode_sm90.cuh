// Attention of few query rows over many keys: decoding, speculative decoding, short extensions.
// Memory bound: every key and value is read once, and all else is arranged so that reads never stop.
//
// An item is up to 8 * kRowTiles packed rows of one request against one split of its keys, for one
// key head. Blocks walk the list of items with five warps:
//
//   four streams   share an item by taking every fourth tile of 16 keys. Each has a ring of tiles in
//                  shared memory that it fills and empties itself, across the borders of items, so
//                  no stream waits for another while keys come in.
//   the clerk      fetches items and queries ahead of the streams, and behind them turns their four
//                  states into output rows or a partial state. Under load every access to device
//                  memory takes microseconds; the clerk is the one who waits for those.
//
// A request of several splits leaves partial states; who arrives last merges them in the order of
// the splits.
//
// The products are taken transposed, keys on the long side of the instruction:
//
//        S^T [16 keys, 8 rows]  = K [16, d] Q^T [d, 8]
//        O^T [d, 8 rows]       += V^T [d, 16] P^T [16, 8]
//
// so that eight rows, not sixteen, are the least that costs a full instruction. A thread holds keys
// g and g + 8 and rows 2 c and 2 c + 1 of S^T, with g = lane / 4 and c = lane % 4.
//
// What a row's bits depend on: its request's length, its own query, its keys. Which keys a warp takes
// is counted from key 0, the cuts from the length (schedule.h), and rows do not meet.
#pragma once

#include "decode_finish.cuh"
#include "decode_loader.cuh"
#include "decode_stream.cuh"
#include "decode_traits.cuh"

namespace pagoda::cuda::decode {

// The clerk's side in front of the streams: items and queries into their slots.
template <class Tr>
__device__ void fetch_item(const Work<Tr>& work, int n) {
  if (n >= work.num_items) return;
  auto& shared = work.shared;
  const int lane = threadIdx.x % 32, slot = n % Tr::kItems;
  if (n >= Tr::kItems) mbarrier_wait(shared.slot_empty[slot], n / Tr::kItems - 1 & 1);
  const auto* source = reinterpret_cast<const uint8_t*>(
      work.params.decode_items + work.index(n) / work.params.num_kv_heads);
  if (lane < static_cast<int>(sizeof(DecodeItem) / 16))
    cp_async_16(shared_address(&shared.slots[slot].item) + 16 * lane, source + 16 * lane, true);
  mbarrier_arrive_after_copies(shared.item_full[slot]);
}

template <class Tr>
__device__ void fetch_query(const Work<Tr>& work, int n) {
  if (n >= work.num_items) return;
  work.wait_item(n);
  const AttendParams& params = work.params;
  auto& slot = work.slot(n);
  const uint32_t destination = shared_address(slot.query);
  const int first_head = work.head(n) * params.group;
#pragma unroll
  for (int i = threadIdx.x % 32; i < Tr::kRows * Tr::kKeyChunks; i += 32) {
    const int row = i / Tr::kKeyChunks, chunk = i % Tr::kKeyChunks;
    const int packed = slot.item.first_row + row;
    const int64_t token = slot.item.query_start + packed / params.group;
    const auto* source = static_cast<const uint8_t*>(params.query) +
                         token * params.query_token_stride +
                         (first_head + packed % params.group) * params.query_head_stride;
    cp_async_16(destination + Tr::KeyTile::offset(row, chunk), source + 16 * chunk,
                row < slot.item.num_rows);
  }
  mbarrier_arrive_after_copies(work.shared.query_full[n % Tr::kItems]);
}

// The clerk's side behind the streams.
template <class Tr>
__device__ void finish_item(const Work<Tr>& work, int n) {
  auto& shared = work.shared;
  const int lane = threadIdx.x % 32, buffer = n % Tr::kStateBuffers;
  const DecodeItem& item = work.slot(n).item;  // its slot is refilled by this warp, later
  mbarrier_wait(shared.state_full[buffer], n / Tr::kStateBuffers & 1);
  write_item<Tr>(work.params, item, work.head(n), shared.states + buffer * Tr::kRowTiles, lane, 32);
  __syncwarp();
  if (lane == 0) mbarrier_arrive(shared.state_empty[buffer]);
  if (item.num_splits == 1) return;
  const bool last = lane == 0 && arrive_last(work.params, item, work.head(n));
  if (__any_sync(~0u, last)) merge_splits<Tr>(work.params, item, work.head(n), lane, 32);
}

// The block's last item is finished by all its warps, since none has anything else to do.
template <class Tr>
__device__ void finish_last_item(const Work<Tr>& work) {
  auto& shared = work.shared;
  const int n = work.num_items - 1, head = work.head(n);
  const DecodeItem& item = work.slot(n).item;
  const auto* states = shared.states + n % Tr::kStateBuffers * Tr::kRowTiles;
  __syncthreads();
  write_item<Tr>(work.params, item, head, states, threadIdx.x, Tr::kThreads);
  if (item.num_splits == 1) return;
  __syncthreads();
  if (threadIdx.x == 0) shared.arrivals_before = arrive_last(work.params, item, head);
  __syncthreads();
  if (shared.arrivals_before) merge_splits<Tr>(work.params, item, head, threadIdx.x, Tr::kThreads);
}

template <class Tr>
__device__ void run_clerk(const Work<Tr>& work) {
  for (int n = 0; n < Tr::kItems - 1; ++n) fetch_item(work, n);
  for (int n = 0; n < Tr::kItems - 2; ++n) fetch_query(work, n);
  for (int n = 0; n < work.num_items - 1; ++n) {
    fetch_item(work, n + Tr::kItems - 1);
    fetch_query(work, n + Tr::kItems - 2);
    finish_item(work, n);
  }
}

template <class Tr>
__device__ void run_stream(const Work<Tr>& work) {
  auto& shared = work.shared;
  const int stream = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t ring = shared_address(shared.ring[stream]);
  Loader<Tr> loader(work, ring);
  WarpState<Tr> state;
  int stage = 0;
  for (int n = 0; n < work.num_items; ++n) {
    work.wait_item(n);
    const DecodeItem& item = work.slot(n).item;
    const Rows<Tr> rows(work.params, item, work.head(n));
    const int first = item.key_begin / Tr::kTileKeys, key_end = item.key_end;
    work.wait_query(n);
    QueryFragments<Tr> q;
    load_query<Tr>(q, work.slot(n).query);
    state.clear();
    for (int tile = first + ((stream - first) & (Tr::kStreams - 1)); tile * Tr::kTileKeys < key_end;
         tile += Tr::kStreams) {
      loader.wait(n);
      const uint32_t keys = ring + stage * Tr::kStageBytes;
      float s[Tr::kRowTiles][4];
      multiply_keys<Tr>(s, keys, q);
      finish_logits<Tr>(s, work.params.score, rows, tile * Tr::kTileKeys);
      update_softmax<Tr>(s, state);
      multiply_values<Tr>(state, keys + Tr::kKeyBytes, s);
      __syncwarp();  // all lanes have read the tile
      --loader.pending;
      loader.load_next(n);
      stage = stage + 1 == Tr::kStages ? 0 : stage + 1;
    }
    const int buffer = n % Tr::kStateBuffers;
    if (n >= Tr::kStateBuffers)
      mbarrier_wait(shared.state_empty[buffer], n / Tr::kStateBuffers - 1 & 1);
    share_state<Tr>(shared.states + buffer * Tr::kRowTiles, state);
    __syncwarp();
    if (lane == 0) {
      mbarrier_arrive(shared.state_full[buffer]);
      mbarrier_arrive(shared.slot_empty[n % Tr::kItems]);
    }
  }
}

template <class Tr>
__device__ void init_barriers(typename Tr::Shared& shared) {
  for (int i = 0; i < Tr::kItems; ++i) {
    mbarrier_init(shared.item_full[i], 32);
    mbarrier_init(shared.query_full[i], 32);
    mbarrier_init(shared.slot_empty[i], Tr::kStreams);
  }
  for (int i = 0; i < Tr::kStateBuffers; ++i) {
    mbarrier_init(shared.state_full[i], Tr::kStreams);
    mbarrier_init(shared.state_empty[i], 1);
  }
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, Tr::kBlocksPerSm)
    attend_decode(const __grid_constant__ AttendParams params) {
  extern __shared__ uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Tr::Shared*>(memory);
  if (threadIdx.x == 0) init_barriers<Tr>(shared);
  wait_for_earlier_kernels();
  allow_next_kernel();
  const Work<Tr> work(params, shared);
  __syncthreads();
  if (work.num_items == 0) return;
  if (threadIdx.x / 32 == Tr::kStreams)
    run_clerk(work);
  else
    run_stream(work);
  finish_last_item(work);
}

}  // namespace pagoda::cuda::decode

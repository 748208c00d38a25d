// Attention of few query rows over many keys: decoding, speculative decoding, short extensions.
// Memory bound: every key and value is read once, and all else is arranged so that reads never
// stop.
//
// An item is up to 8 * kRowTiles packed rows of one request against one piece of its keys, for one
// key head: a leaf, a split or all keys (schedule.h). Blocks walk the list of items with eight
// warps:
//
//   four streams   share a leaf by taking every fourth tile of 16 keys. Each has a ring of tiles in
//                  shared memory that it fills and empties itself, across the borders of items, so
//                  no stream waits for another while keys come in.
//   four clerks    fetch items and queries ahead of the streams, and behind them merge their four
//                  states leaf by leaf into output rows or a partial state. Under load every access
//                  to device memory takes microseconds; the clerks are who waits for those.
//
// A request of several pieces leaves partial states; who arrives last merges them in the order of
// the keys, leaves into splits and splits into the request, as the clerks would have done.
//
// The products are taken transposed, keys on the long side of the instruction:
//
//        S^T [16 keys, 8 rows]  = K [16, d] Q^T [d, 8]
//        O^T [d, 8 rows]       += V^T [d, 16] P^T [16, 8]
//
// so that eight rows, not sixteen, are the least that costs a full instruction. A thread holds keys
// g and g + 8 and rows 2 c and 2 c + 1 of S^T, with g = lane / 4 and c = lane % 4.
//
// Beside and behind a mixed kernel (kIsRest) a block begins wherever one of that kernel has ended,
// and takes items from the counter that both have.
//
// What a row's bits depend on: its request's length, its own query, its keys. Which keys a warp
// takes is counted from key 0, the cuts from the length (schedule.h), and rows do not meet.
#pragma once

#include "decode_awaited.cuh"
#include "decode_finish.cuh"
#include "decode_loader.cuh"
#include "decode_stream.cuh"
#include "decode_traits.cuh"

namespace pagoda::cuda::decode {

// The clerks' side in front of the streams: items and queries into their slots.
template <class Tr>
__device__ void fetch_item(const Work<Tr>& work, int n) {
  if (n >= work.num_items) return;
  const int lane = threadIdx.x % 32, slot = n % Tr::kItems;
  const auto* source = reinterpret_cast<const uint8_t*>(work.params.decode_items +
                                                        work.index(n) / work.params.num_kv_heads);
  if (lane < static_cast<int>(sizeof(DecodeItem) / 16))
    cp_async_16(shared_address(&work.shared.items[slot]) + 16 * lane, source + 16 * lane, true);
  mbarrier_arrive_after_copies(work.shared.item_full[slot]);
}

// Beside and behind a mixed kernel, whose blocks take items from the same counter: a block's part
// of what is left, and again until nothing is. By one thread; returns the first and how many.
__device__ inline int2 take_items(MixedCounters& mixed, int all) {
  constexpr int kMost = 8;
  const int left = all - static_cast<int>(__ldcg(&mixed.next_item));
  const int wanted = max(min(left / static_cast<int>(gridDim.x), kMost), 1);
  const int first = static_cast<int>(atomic_add_relaxed(&mixed.next_item, wanted));
  return {first, max(min(all - first, wanted), 0)};
}

// By the warp that fetches: the block's share, and its first item.
template <class Tr>
__device__ void take_share(const AttendParams& params, typename Tr::Shared& shared) {
  const int4 header = __ldcg(reinterpret_cast<const int4*>(params.schedule));
  const int all = header.x * params.num_kv_heads, first = blockIdx.x, stride = header.z;
  if (threadIdx.x % 32 == 0) {
    shared.takes_shares = Tr::kIsRest && header.y > 0;
    shared.first_item = first, shared.item_stride = stride;
    shared.num_items = first < stride && first < all ? (all - first + stride - 1) / stride : 0;
    shared.fills_device = 2 * all > stride;
    if (shared.takes_shares) {
      const int2 share = take_items(*params.mixed, all);
      shared.first_item = share.x, shared.num_items = share.y, shared.item_stride = 1;
      shared.fills_device = false;
    }
  }
  __syncwarp();
  fetch_item(Work<Tr>(params, shared), 0);
}

template <class Tr>
__device__ void fetch_query(const Work<Tr>& work, int n) {
  if (n >= work.num_items) return;
  work.wait_item(n);
  const AttendParams& params = work.params;
  const DecodeItem& item = work.item(n);
  const uint32_t destination = shared_address(work.shared.queries[n % Tr::kQueries]);
#pragma unroll
  for (int i = threadIdx.x % 32; i < Tr::kRows * Tr::kQueryChunks; i += 32) {
    const int row = i / Tr::kQueryChunks, chunk = i % Tr::kQueryChunks;
    const PackedRow packed(params, item.first_row + row, work.head(n));
    const auto* source = static_cast<const uint8_t*>(params.query) +
                         int64_t{item.query_start + packed.token} * params.query_token_stride +
                         packed.query_head * params.query_head_stride;
    cp_async_16(destination + Tr::QueryTile::offset(row, chunk), source + 16 * chunk,
                row < item.num_rows);
  }
  mbarrier_arrive_after_copies(work.shared.query_full[n % Tr::kQueries]);
}

// The clerks' side behind the streams, all four warps together. What they ask of memory for one
// item is answered while they work on the next: item n is written, its arrival reported with n + 1
// and looked at with n + 2.
template <class Tr>
class Finisher {
 public:
  __device__ explicit Finisher(const Work<Tr>& work)
      : work_(work), thread_(threadIdx.x % Tr::kClerks) {}

  __device__ void write(int n) {
    auto& shared = work_.shared;
    const DecodeItem& item = work_.item(n);
    int split = 0;
    bool first_leaf = true;
    for (int end = end_of_leaf(item, item.key_begin);; end = end_of_leaf(item, end)) {
      const int buffer = count_ % Tr::kStateBuffers;
      const bool is_last = end == item.key_end;
      const Leaf leaf{.tiles_at = buffer * Tr::kRowTiles,
                      .turn = count_,
                      .split = split,
                      .is_first = first_leaf,
                      .ends_split = ends_split(item, end),
                      .is_last = is_last};
      mbarrier_wait(shared.state_full[buffer], count_ / Tr::kStateBuffers & 1);
      finish_leaf<Tr>(work_.params, item, work_.head(n), shared, leaf, thread_, Tr::kClerks);
      meet();
      mbarrier_arrive_for_all(shared.state_empty[buffer], thread_ == 0);
      ++count_;
      first_leaf = leaf.ends_split;
      split += leaf.ends_split;
      if (is_last) return;
    }
  }

  __device__ void report(int n) {
    if (n < 0 || work_.item(n).num_pieces == 1) return;
    if (thread_ == 0)
      work_.shared.arrivals_before = arrive(work_.params, work_.item(n), work_.head(n));
  }

  // After a meeting behind the report.
  __device__ void merge_if_last(int n) {
    if (n < 0 || work_.item(n).num_pieces == 1) return;
    const DecodeItem& item = work_.item(n);
    const uint32_t before = work_.shared.arrivals_before & ~kSecondSet;
    if (before + 1 != static_cast<uint32_t>(item.num_pieces)) return;
    merge_item<Tr>(work_.params, item, work_.head(n), thread_, Tr::kClerks);
  }

  // The block's only item, when no block has another (kItemIsAlone): in front of the wait for
  // earlier kernels, then behind it.
  __device__ void prepare_only_item() const {
    if (work_.item(0).num_pieces == 1) return;
    if (thread_ < 32) AwaitedMerge<Tr>::prepare(work_);
    meet();
  }
  __device__ void start_only_item() const {
    if (work_.item(0).num_pieces == 1) return;
    if (thread_ == kStarter) AwaitedMerge<Tr>::start(work_);
    meet();
    const AwaitedMerge<Tr> merge(work_, thread_);
    merge.clear_other_set();
    if (thread_ < 32) merge.settle(work_.shared.state_full[0]);
  }
  // After a meeting behind the start, when it is written.
  __device__ void merge_only_item() const {
    if (work_.item(0).num_pieces > 1) AwaitedMerge<Tr>(work_, thread_).run(count_);
  }

  __device__ void meet() const { named_barrier_sync(1, Tr::kClerks); }

 private:
  static constexpr int kStarter = 32;  // of another warp than the one that fetches queries
  const Work<Tr>& work_;
  const int thread_;
  int count_ = 0;  // leaves
};

template <class Tr>
__device__ void run_clerks(const Work<Tr>& work) {
  const bool fetches = threadIdx.x % Tr::kClerks < 32;
  for (int n = 1; fetches && n < Tr::kItemsAhead; ++n) fetch_item(work, n);
  Finisher<Tr> finisher(work);
  work.wait_item(0);
  if (work.is_alone()) finisher.prepare_only_item();
  work.wait_for_inputs();
  for (int n = 0; fetches && n < Tr::kQueriesAhead; ++n) fetch_query(work, n);
  if (work.is_alone()) finisher.start_only_item();
  const int last = work.num_items - 1;
  for (int n = 0; n <= last + 2; ++n) {
    if (fetches) fetch_item(work, n + Tr::kItemsAhead);
    if (fetches) fetch_query(work, n + Tr::kQueriesAhead);
    finisher.merge_if_last(n - 2);
    if (n <= last) work.wait_item(n);
    finisher.meet();  // all have seen what was reported before
    if (n <= last + 1) finisher.report(n - 1);
    if (n <= last)
      finisher.write(n);
    else
      finisher.meet();
    if (work.is_alone()) return finisher.merge_only_item();
  }
}

// The keys and values at `keys`, of which the first is first_key.
template <class Tr>
__device__ void attend_tile(const AttendParams& params, const Rows<Tr>& rows,
                            const QueryFragments<Tr>& q, uint32_t keys, int first_key,
                            WarpState<Tr>& state) {
  const uint32_t values = keys + Tr::kKeyBytes, key_scales = keys + Tr::kScalesAt;
  const uint32_t value_scales = key_scales + 4 * Tr::kTileKeys;
  Scores<Tr> s;
#pragma unroll
  for (int sub = 0; sub < Tr::kSubs; ++sub) {
    multiply_keys<Tr>(s[sub], keys + sub * 16 * Tr::KeyTile::kRowBytes, q);
    scale_logits<Tr>(s[sub], key_scales + sub * 64);
    finish_logits<Tr>(s[sub], params.score, rows, first_key + 16 * sub);
  }
  update_softmax<Tr>(s, state);
#pragma unroll
  for (int sub = 0; sub < Tr::kSubs; ++sub) {
    scale_weights<Tr>(s[sub], value_scales + sub * 64, params);
    multiply_values<Tr>(state, values + sub * 16 * Tr::ValueTile::kRowBytes, s[sub]);
  }
}

template <class Tr>
__device__ void run_stream(const Work<Tr>& work) {
  auto& shared = work.shared;
  const int stream = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t ring = shared_address(shared.ring[stream]);
  if (lane == 0) shared.leaves_shared[stream] = 0;
  __syncwarp();
  Loader<Tr> loader(work, ring);
  loader.begin();
  WarpState<Tr> state;
  int stage = 0;
  int entered = -1;  // 2 n: item n's rows are known; 2 n + 1: its query is there too
  Rows<Tr> rows;
  QueryFragments<Tr> q;
  int tile = 0, end = 0;
  for (int n = 0; n < work.num_items;) {
    const DecodeItem& item = work.item(n);
    if (entered < 2 * n) {
      entered = 2 * n;
      work.wait_item(n);
      if (work.params.alibi_slopes) work.wait_for_inputs();
      rows = Rows<Tr>(work.params, item, work.head(n));
      const int first = item.key_begin / Tr::kTileKeys;
      tile = first + ((stream - first) & (Tr::kStreams - 1));
      end = item.key_begin;
    }
    end = end_of_leaf(item, end);
    state.clear();
    while (true) {
      loader.fill(n);
      if (entered == 2 * n) {
        ++entered;
        work.wait_query(n);
        load_query<Tr>(q, work.shared.queries[n % Tr::kQueries]);
      }
      if (tile * Tr::kTileKeys >= end) break;
      loader.wait();
      attend_tile<Tr>(work.params, rows, q, ring + stage * Tr::kStageBytes, tile * Tr::kTileKeys,
                      state);
      __syncwarp();  // all lanes have read the tile
      --loader.pending;
      stage = stage + 1 == Tr::kStages ? 0 : stage + 1;
      tile += Tr::kStreams;
    }
    const int count = shared.leaves_shared[stream];
    const int buffer = count % Tr::kStateBuffers;
    if (count >= Tr::kStateBuffers)
      mbarrier_wait(shared.state_empty[buffer], count / Tr::kStateBuffers - 1 & 1);
    share_state<Tr>(shared.states + buffer * Tr::kRowTiles, state);
    __syncwarp();  // all lanes have read the count
    if (lane == 0) shared.leaves_shared[stream] = count + 1;
    __syncwarp();
    mbarrier_arrive_for_all(shared.state_full[buffer], lane == 0);
    if (end == item.key_end) ++n;
  }
}

template <class Tr>
__device__ void init_barriers(typename Tr::Shared& shared) {
  for (uint64_t& barrier : shared.item_full) mbarrier_init(barrier, 32);
  for (uint64_t& barrier : shared.query_full) mbarrier_init(barrier, 32);
  for (int i = 0; i < Tr::kStateBuffers; ++i) {
    mbarrier_init(shared.state_full[i], Tr::kStreams * arrivals_of(32));
    mbarrier_init(shared.state_empty[i], arrivals_of(Tr::kClerks));
  }
}

template <class Tr>
__device__ void end_barriers(typename Tr::Shared& shared) {
  for (uint64_t& barrier : shared.item_full) mbarrier_invalidate(barrier);
  for (uint64_t& barrier : shared.query_full) mbarrier_invalidate(barrier);
  for (uint64_t& barrier : shared.state_full) mbarrier_invalidate(barrier);
  for (uint64_t& barrier : shared.state_empty) mbarrier_invalidate(barrier);
}

// Where items are taken a few at a time: the next, when all warps have done with those before.
// Returns whether there are any. By warps that only wait, and by those of which one takes them.
template <class Tr>
__device__ bool await_next_share(typename Tr::Shared& shared) {
  if (!Tr::kIsRest || !shared.takes_shares) return false;
  named_barrier_sync(2, Tr::kThreads);
  named_barrier_sync(2, Tr::kThreads);
  return shared.num_items > 0;
}
template <class Tr>
__device__ bool take_next_share(const AttendParams& params, typename Tr::Shared& shared) {
  if (!Tr::kIsRest || !shared.takes_shares) return false;
  named_barrier_sync(2, Tr::kThreads);
  if (threadIdx.x / 32 == Tr::kStreams) {
    if (threadIdx.x % 32 == 0) end_barriers<Tr>(shared), init_barriers<Tr>(shared);
    __syncwarp();
    take_share<Tr>(params, shared);
  }
  named_barrier_sync(2, Tr::kThreads);
  return shared.num_items > 0;
}

// The end of a block that has got no more items: who comes next waits for this kernel alone. The
// last one leaves the counters as the next step wants them.
__device__ inline void leave(MixedCounters& mixed) {
  wait_for_earlier_kernels();
  if (atomic_add_relaxed(&mixed.decode_blocks, 1) + 1 == gridDim.x) mixed = {};
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, Tr::kBlocksPerSm)
    attend_decode(const __grid_constant__ AttendParams params) {
  extern __shared__ uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Tr::Shared*>(memory);
  if (Tr::kIsRest && !has_items(params.schedule)) return pass_by();
  // What a step's schedule and page table say is older than the kernel before this one, so all that
  // follows from them alone happens while that one ends.
  if (threadIdx.x / 32 == Tr::kStreams) {
    if (threadIdx.x % 32 == 0) init_barriers<Tr>(shared);
    __syncwarp();
    take_share<Tr>(params, shared);
  }
  __syncthreads();
  const bool takes_shares = Tr::kIsRest && shared.takes_shares;
  if (shared.num_items == 0 && !takes_shares) return wait_for_earlier_kernels();
  if (shared.num_items == 0) {
    allow_next_kernel();
  } else if (threadIdx.x < 32 * Tr::kStreams) {
    if constexpr (Tr::kBlocksPerSm == 2)
      take_registers<Tr::kStreamRegisters>();
    else
      give_registers<Tr::kStreamRegisters>();
    do {
      const Work<Tr> work(params, shared);
      run_stream(work);
    } while (await_next_share<Tr>(shared));
  } else {
    give_registers<Tr::kClerkRegisters>();
    do {
      const Work<Tr> work(params, shared);
      run_clerks(work);
    } while (take_next_share<Tr>(params, shared));
  }
  if (takes_shares && threadIdx.x == 32 * Tr::kStreams) leave(*params.mixed);
}

}  // namespace pagoda::cuda::decode

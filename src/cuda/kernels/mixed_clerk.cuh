// Device only. The warp of the mixed kernel that does for its streams what the clerks of the decode
// kernel do: items and queries ahead of them, and behind them leaves, splits and requests, by the
// same functions.
#pragma once

#include "decode_finish.cuh"
#include "mixed_feeder.cuh"

namespace pagoda::cuda::mixed {

template <class Tr>
class Clerk {
 public:
  __device__ Clerk(const PrefillParams& params, typename Tr::Shared& shared)
      : items_{params, shared}, params_(params.attend), shared_(shared.decode) {}

  __device__ void run() {
    fetch_item(0);
    fetch_query(0);
    for (int n = 0; items_.has(n); ++n) {
      fetch_item(n + 1);
      fetch_query(n + 1);
      write(n);
      merge_if_last(n);
    }
  }

 private:
  using Decode = typename Tr::Decode;
  static __device__ int lane() { return threadIdx.x % 32; }

  // Whether the block's tiles will last about as long as item n - 1, at which the streams are, and
  // half of item n.
  __device__ bool has_time(int n) const {
    const int num_tiles = __ldcg(&params_.schedule->num_prefill_tiles) * params_.num_kv_heads;
    if (static_cast<int>(blockIdx.x) >= num_tiles) return false;
    const int keys = n > 0 ? items_.item(n - 1).key_end - items_.item(n - 1).key_begin : 0;
    return clock64() + int64_t{Tr::kDecodeCyclesPerKey} * keys * 3 / 2 < shared_.end_of_tiles;
  }

  // The index of the block's n-th item; below 0: there is none, or none that should still begin.
  __device__ int take_index(int n) const {
    int index = -1;
    if (lane() == 0 && has_time(n)) {
      index = static_cast<int>(atomic_add_relaxed(&params_.mixed->next_item, 1));
      if (index >= __ldcg(&params_.schedule->num_decode_items) * params_.num_kv_heads) index = -1;
    }
    return __shfl_sync(~0u, index, 0);
  }

  // An item and its queries ahead of the streams. What was in their slots has been used: the
  // streams have shared the last leaf of the item before.
  __device__ void fetch_item(int n) {
    const int slot = n % Decode::kItems, index = take_index(n);
    if (lane() == 0) {
      shared_.index[slot] = index;
      mbarrier_arrive(shared_.item_full[slot]);
    }
    const auto* source =
        reinterpret_cast<const uint8_t*>(params_.decode_items + index / params_.num_kv_heads);
    if (lane() < static_cast<int>(sizeof(DecodeItem) / 16) && index >= 0)
      cp_async_16(shared_address(&shared_.items[slot]) + 16 * lane(), source + 16 * lane(), true);
    mbarrier_arrive_after_copies(shared_.item_full[slot]);
  }
  __device__ void fetch_query(int n) {
    if (!items_.has(n)) return;
    const DecodeItem& item = items_.item(n);
    const uint32_t destination = shared_address(shared_.queries[n % Decode::kQueries]);
#pragma unroll 1
    for (int i = lane(); i < Decode::kRows * Decode::kQueryChunks; i += 32) {
      const int row = i / Decode::kQueryChunks, chunk = i % Decode::kQueryChunks;
      const PackedRow packed(params_, item.first_row + row, items_.head(n));
      const auto* source = static_cast<const uint8_t*>(params_.query) +
                           int64_t{item.query_start + packed.token} * params_.query_token_stride +
                           packed.query_head * params_.query_head_stride;
      cp_async_16(destination + Decode::QueryTile::offset(row, chunk), source + 16 * chunk,
                  row < item.num_rows);
    }
    mbarrier_arrive_after_copies(shared_.query_full[n % Decode::kQueries]);
  }

  __device__ void write(int n) {
    const DecodeItem& item = items_.item(n);
    int split = 0;
    bool is_first = true;
    for (int end = decode::end_of_leaf(item, item.key_begin);;
         end = decode::end_of_leaf(item, end)) {
      const decode::Leaf leaf{.tiles_at = 0,
                              .turn = turn_++,
                              .split = split,
                              .is_first = is_first,
                              .ends_split = decode::ends_split(item, end),
                              .is_last = end == item.key_end};
      finish_leaf(item, items_.head(n), leaf);
      if (leaf.is_last) return;
      is_first = leaf.ends_split;
      split += leaf.ends_split;
    }
  }

  // The streams share four rows at a time.
  __device__ void finish_leaf(const DecodeItem& item, int head, const decode::Leaf& leaf) {
#pragma unroll 1
    for (int first = 0; first < item.num_rows; first += Decode::kStateRows) {
      mbarrier_wait(shared_.state_full, shares_++ & 1);
      decode::for_columns<Decode>(
          min(item.num_rows - first, Decode::kStateRows), lane(), 32,
          [&](int in_tile, int column) { merge_leaf(item, head, leaf, first, in_tile, column); });
      __syncwarp();
      if (lane() == 0) mbarrier_arrive(shared_.state_empty);
    }
  }
  __device__ __forceinline__ void merge_leaf(const DecodeItem& item, int head,
                                             const decode::Leaf& leaf, int first, int in_tile,
                                             int column) {
    const int row = first + in_tile;
    decode::RowState run = decode::empty_state();
    if (!leaf.is_first) {
      const float2 ml = shared_.run_ml[leaf.turn & 1][row];
      run = {ml.x, ml.y, shared_.run_out[row][column / 4]};
    }
    run = decode::merge(run, decode::merge_streams<Decode>(shared_.states, in_tile, column));
    shared_.run_out[row][column / 4] = run.o;
    if (column == 0) shared_.run_ml[leaf.turn + 1 & 1][row] = make_float2(run.m, run.l);
    if (leaf.ends_split)
      decode::finish_split<Decode>(params_, item, head, shared_, leaf, row, column, run);
  }

  // The states of this item are written; who arrives last merges all of its request.
  __device__ void merge_if_last(int n) {
    const DecodeItem& item = items_.item(n);
    if (item.num_pieces == 1) return;
    __syncwarp();
    uint32_t before = 0;
    if (lane() == 0) before = decode::arrive(params_, item, items_.head(n));
    before = __shfl_sync(~0u, before, 0);
    if ((before & ~decode::kSecondSet) + 1 != static_cast<uint32_t>(item.num_pieces)) return;
    decode::merge_item<Decode>(params_, item, items_.head(n), lane(), 32);
  }

  const Items<Tr> items_;
  const AttendParams& params_;
  typename Decode::Shared& shared_;
  int turn_ = 0;         // leaves
  uint32_t shares_ = 0;  // times that the streams have shared states
};

}  // namespace pagoda::cuda::mixed

// Device only. The warp group of the mixed kernel that decodes: four streams as in the decode
// kernel, with its arithmetic in its order, so that a row gets the same bits from either. The
// streams merge their states themselves; what that costs is hidden by the groups that multiply.
#pragma once

#include "decode_finish.cuh"
#include "decode_stream.cuh"
#include "mixed_feeder.cuh"

namespace pagoda::cuda::mixed {

template <class Tr>
class Streams {
 public:
  __device__ Streams(const PrefillParams& params, typename Tr::Shared& shared)
      : items_{params, shared},
        params_(params.attend),
        shared_(shared.decode),
        thread_(threadIdx.x % 128) {}

  __device__ void run() {
    const int num = items_.num();
    for (int n = 0; n < num; ++n) {
      attend(n);
      merge_if_last(n);
      __syncwarp();
      if (thread_ % 32 == 0) mbarrier_arrive(shared_.item_empty[n % Decode::kItems]);
    }
  }

 private:
  using Decode = typename Tr::Decode;
  using Rows = decode::Rows<Decode>;

  __device__ __forceinline__ void attend(int n) {
    items_.wait_item(n);
    const DecodeItem& item = items_.item(n);
    const Rows& rows = find_rows(n);
    const int query_slot = n % Decode::kQueries;
    mbarrier_wait(shared_.query_full[query_slot], n / Decode::kQueries & 1);
    int first_key = item.key_begin / Decode::kSlotKeys * Decode::kSlotKeys, split = 0;
    bool is_first = true;
    for (int end = decode::end_of_leaf(item, item.key_begin);;
         end = decode::end_of_leaf(item, end)) {
      state_.clear();
      for (; first_key < end; first_key += Decode::kSlotKeys)
        attend_slot(rows, first_key, query_slot);
      const bool ends_split = decode::ends_split(item, end), is_last = end == item.key_end;
      finish_leaf(item, items_.head(n), {.tiles_at = 0,
                                         .turn = turn_++,
                                         .split = split,
                                         .is_first = is_first,
                                         .ends_split = ends_split,
                                         .is_last = is_last});
      is_first = ends_split;
      split += ends_split;
      if (is_last) break;
    }
    if (thread_ % 32 == 0) mbarrier_arrive(shared_.query_empty[query_slot]);
  }

  // What the lanes of this stream know of the item's rows; in shared memory, as registers are few.
  __device__ const Rows& find_rows(int n) {
    Rows& rows = shared_.rows[thread_ / 32][thread_ % 4];
    __syncwarp();
    if (thread_ % 32 < 4) rows = Rows(params_, items_.item(n), items_.head(n));
    __syncwarp();
    return rows;
  }

  // This stream's sixteen of a slot's keys and values. Where the item has none of them all weights
  // are 0, which changes nothing.
  __device__ __forceinline__ void attend_slot(const Rows& rows, int first_key, int query_slot) {
    const int own = thread_ / 32 * Decode::kTileKeys;
    decode::Scores<Decode> s;
    multiply_keys(s[0], take_slot() + own * Decode::KeyTile::kRowBytes,
                  shared_address(shared_.queries[query_slot]));
    release_slot();
    decode::finish_logits<Decode>(s[0], params_.score, rows, first_key + own);
    decode::update_softmax<Decode>(s, state_);
    multiply_values(take_slot() + own * Decode::ValueTile::kRowBytes, s[0]);
    release_slot();
  }

  // As decode::multiply_keys and multiply_values. Addresses of a tile differ in bits that the
  // swizzle flips, and queries are read again for each tile: registers are few.
  __device__ __forceinline__ static void multiply_keys(float (&s)[1][4], uint32_t keys,
                                                       uint32_t query) {
    const int lane = recomputed(threadIdx.x % 32);
    const uint32_t key = keys + Decode::KeyTile::offset(lane % 16, lane / 16);
    query += Decode::QueryTile::offset(lane % 8, lane / 8 % 2);
    float odd[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) s[0][i] = odd[i] = 0;
#pragma unroll
    for (int step = 0; step < Decode::kHeadDim / 16; ++step) {
      uint32_t k[4], q[2];
      ldmatrix_x4(k, key ^ step * 32);
      ldmatrix_x2(q, query ^ step * 32);
      Element<typename Decode::Type>::mma(step % 2 ? odd : s[0], k, q[0], q[1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) s[0][i] += odd[i];
  }
  __device__ __forceinline__ void multiply_values(uint32_t values, const float (&p)[1][4]) {
    const int lane = recomputed(threadIdx.x % 32);
    const uint32_t value =
        values + Decode::ValueTile::offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    uint32_t weights[2];
#pragma unroll
    for (int half = 0; half < 2; ++half)
      weights[half] = movmatrix_trans(
          Element<typename Decode::Type>::pack(p[0][2 * half], p[0][2 * half + 1]));
#pragma unroll
    for (int d = 0; d < Decode::kHeadDimV / 16; ++d) {
      uint32_t v[4];
      ldmatrix_x4_trans(v, value ^ d * 32);
      Element<typename Decode::Type>::mma(state_.o[d][0], v, weights[0], weights[1]);
    }
  }

  __device__ uint32_t take_slot() {
    mbarrier_wait(items_.shared.slot_full[position_.slot], position_.parity);
    return shared_address(items_.shared.slots[position_.slot]);
  }
  __device__ __forceinline__ void release_slot() {
    __syncwarp();
    if (thread_ % 32 == 0) mbarrier_arrive(items_.shared.slot_empty[position_.slot]);
    position_.advance();
  }

  // ---- the end of a leaf ------------------------------------------------------------------------

  __device__ void meet() const { named_barrier_sync(1, 128); }

  // Four rows at a time go through shared memory.
  __device__ __forceinline__ void finish_leaf(const DecodeItem& item, int head, const decode::Leaf& leaf) {
#pragma unroll 1
    for (int first = 0; first < item.num_rows; first += Decode::kStateRows) {
      meet();  // what was shared before has been read
      share_state(first);
      meet();
      decode::for_columns<Decode>(
          min(item.num_rows - first, Decode::kStateRows), thread_, 128, [&](int in_tile, int column) {
            merge_leaf(item, head, leaf, first, in_tile, column);
          });
    }
  }

  // Rows [first, first + kStateRows) of this stream's state.
  __device__ __forceinline__ void share_state(int first) {
    const int stream = thread_ / 32, g = thread_ % 32 / 4, c = thread_ % 4;
    auto& tile = shared_.states;
    const int row = 2 * c - first;
    const bool is_here = row >= 0 && row < Decode::kStateRows;
    if (is_here) {
#pragma unroll
      for (int d = 0; d < Decode::kHeadDimV / 16; ++d)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          tile.out[stream][row + i % 2][16 * d + g + 8 * (i / 2)] = state_.o[d][0][i];
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float l = state_.l[0][e];
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) l += __shfl_xor_sync(~0u, l, lanes);
      if (is_here && g == 0) tile.ml[stream][row + e] = make_float2(state_.m[0][e], l);
    }
  }

  __device__ __forceinline__ void merge_leaf(const DecodeItem& item, int head, const decode::Leaf& leaf, int first,
                             int in_tile, int column) {
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
    meet();
    if (thread_ == 0) shared_.arrivals_before = decode::arrive(params_, item, items_.head(n));
    meet();
    if (shared_.arrivals_before + 1 != static_cast<uint32_t>(item.num_pieces)) return;
    decode::merge_item<Decode>(params_, item, items_.head(n), thread_, 128);
  }

  const Items<Tr> items_;
  const AttendParams& params_;
  typename Decode::Shared& shared_;
  const int thread_;
  int turn_ = 0;  // leaves
  prefill::RingPosition<Tr::kSlots> position_;
  decode::WarpState<Decode> state_;
};

}  // namespace pagoda::cuda::mixed

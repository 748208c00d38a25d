// Device only. The warp group of the mixed kernel that decodes: four streams as in the decode
// kernel, with its arithmetic in its order, so that a row gets the same bits from either.
#pragma once

#include "decode_stream.cuh"
#include "mixed_feeder.cuh"

namespace pagoda::cuda::mixed {

template <class Tr>
class Streams {
 public:
  __device__ Streams(const PrefillParams& params, typename Tr::Shared& shared)
      : items_{params, shared},
        all_(params),
        params_(params.attend),
        shared_(shared.decode),
        thread_(threadIdx.x % 128) {
    const uint32_t lane = threadIdx.x % 32;
    key_at_ =
        TileLayout(params.decode_box_rows, Decode::kHeadDim / 64).offset(lane % 16, lane / 16);
    value_at_ = TileLayout(params.decode_box_rows, Decode::kHeadDimV / 64)
                    .offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    query_at_ =
        Decode::QueryTile::offset(static_cast<int>(lane % 8), static_cast<int>(lane / 8 % 2));
  }

  __device__ void run() {
    for (int n = 0; items_.has(n); ++n) attend(n);
  }

 private:
  using Decode = typename Tr::Decode;
  using Rows = decode::Rows<Decode>;

  __device__ __forceinline__ void attend(int n) {
    const DecodeItem& item = items_.item(n);
    const Rows& rows = find_rows(n);
    const int query_slot = n % Decode::kQueries;
    mbarrier_wait(shared_.query_full[query_slot], n / Decode::kQueries & 1);
    int key = item.key_begin / kSlotKeys * kSlotKeys;
    for (int end = decode::end_of_leaf(item, item.key_begin);;
         end = decode::end_of_leaf(item, end)) {
      state_.clear();
      for (; key < end; key += kSlotKeys) attend_slot(item, rows, key, query_slot);
      for (int first = 0; first < item.num_rows; first += Decode::kStateRows) share_state(first);
      if (end == item.key_end) return;
    }
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
  // are 0, which changes nothing. As decode::attend_tile, but that a thread asks for operands long
  // before it needs them: shared memory is busy with those of the groups that multiply. Addresses
  // of a tile differ in bits that the swizzle flips, and queries are read again for each tile.
  __device__ __forceinline__ void attend_slot(const DecodeItem& item, const Rows& rows,
                                              int first_key, int query_slot) {
    const int own = thread_ / 32 * Decode::kTileKeys;
    decode::Scores<Decode> s;
    multiply_keys(s[0], take_slot() + key_at_,
                  shared_address(shared_.queries[query_slot]) + query_at_);
    release_slot();
    const uint32_t values = take_slot();
    clear_stale_values(item, values, first_key + own);
    Operands<kValueSteps / 2> v;
    load_values<0>(v, values + value_at_);
    decode::finish_logits<Decode>(s[0], params_.score, rows, first_key + own);
    decode::update_softmax<Decode>(s, state_);
    uint32_t weights[2];
#pragma unroll
    for (int half = 0; half < 2; ++half)
      weights[half] = movmatrix_trans(
          Element<typename Decode::Type>::pack(s[0][0][2 * half], s[0][0][2 * half + 1]));
    Operands<kValueSteps / 2> more;
    load_values<kValueSteps / 2>(more, values + value_at_);
    multiply_values<0>(v, weights);
    multiply_values<kValueSteps / 2>(more, weights);
    release_slot();
  }

  static constexpr int kKeySteps = Decode::kHeadDim / 16, kValueSteps = Decode::kHeadDimV / 16;
  template <int kSteps>
  using Operands = uint32_t[kSteps][4];

  // keys, query: where this lane's row begins.
  __device__ __forceinline__ void multiply_keys(float (&s)[1][4], uint32_t keys,
                                                uint32_t query) const {
    const uint32_t slab = all_.decode_box_rows * 128;
    float odd[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) s[0][i] = odd[i] = 0;
#pragma unroll
    for (int first = 0; first < kKeySteps; first += 4) {
      Operands<4> k;
      uint32_t q[4][2];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int step = first + i;
        ldmatrix_x4(k[i], (keys ^ step % 4 * 32) + step / 4 * slab);
        ldmatrix_x2(q[i], query ^ step * 32);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
        Element<typename Decode::Type>::mma(i % 2 ? odd : s[0], k[i], q[i][0], q[i][1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) s[0][i] += odd[i];
  }

  template <int kFirst>
  __device__ __forceinline__ void load_values(Operands<kValueSteps / 2>& v, uint32_t values) const {
    const uint32_t slab = all_.decode_box_rows * 128;
#pragma unroll
    for (int i = 0; i < kValueSteps / 2; ++i) {
      const int step = kFirst + i;
      ldmatrix_x4_trans(v[i], (values ^ step % 4 * 32) + step / 4 * slab);
    }
  }
  template <int kFirst>
  __device__ __forceinline__ void multiply_values(const Operands<kValueSteps / 2>& v,
                                                  const uint32_t (&weights)[2]) {
#pragma unroll
    for (int i = 0; i < kValueSteps / 2; ++i)
      Element<typename Decode::Type>::mma(state_.o[kFirst + i][0], v[i], weights[0], weights[1]);
  }

  __device__ uint32_t take_slot() {
    mbarrier_wait(items_.shared.slot_full[position_.slot], position_.parity);
    return shared_address(items_.shared.slots[position_.slot]) + thread_ / 32 * Decode::kTileBytes;
  }
  __device__ __forceinline__ void release_slot() {
    __syncwarp();
    if (thread_ % 32 == 0) mbarrier_arrive(items_.shared.slot_empty[position_.slot]);
    position_.advance();
  }

  // Makes zeros of those of the stream's values that the item does not have: their bytes may be
  // anything, NaN included, and 0 * NaN would reach the output.
  __device__ void clear_stale_values(const DecodeItem& item, uint32_t values, int first_key) {
    if (first_key >= item.key_begin && first_key + Decode::kTileKeys <= item.key_end) return;
    constexpr int kChunks = Decode::kHeadDimV / 8;
    const TileLayout layout(all_.decode_box_rows, Decode::kHeadDimV / 64);
#pragma unroll 1
    for (int i = thread_ % 32; i < Decode::kTileKeys * kChunks; i += 32) {
      const int row = i / kChunks, chunk = i % kChunks, key = first_key + row;
      if (key < item.key_begin || key >= item.key_end)
        store_zero_16(values + layout.offset(row, chunk % 8) + chunk / 8 * layout.slab);
    }
    fence_async_proxy();
    __syncwarp();
  }

  // Puts rows [first, first + kStateRows) of this stream's state where the clerk finds them.
  __device__ __forceinline__ void share_state(int first) {
    const int stream = thread_ / 32, g = thread_ % 32 / 4, c = thread_ % 4;
    mbarrier_wait(shared_.state_empty, shares_++ & 1 ^ 1);
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
    __syncwarp();
    if (thread_ % 32 == 0) mbarrier_arrive(shared_.state_full);
  }

  const Items<Tr> items_;
  const PrefillParams& all_;
  const AttendParams& params_;
  typename Decode::Shared& shared_;
  const int thread_;
  uint32_t key_at_, value_at_, query_at_;  // this lane's rows in a tile, and in queries
  uint32_t shares_ = 0;
  prefill::RingPosition<Tr::kSlots> position_;
  decode::WarpState<Decode> state_;
};

}  // namespace pagoda::cuda::mixed

// Device only. The warp that brings keys and values for the streams of the mixed kernel by the copy
// engine, 64 at a time, and what all of its decoding warps know. Streams have nothing to do but
// multiply: a warp that has its scheduler's attention only now and then is slow at all else.
#pragma once

#include "../device/ptx.cuh"
#include "mixed_traits.cuh"
#include "paged_keys.cuh"

namespace pagoda::cuda::mixed {

// The items of a block: every gridDim-th of the list times key heads.
template <class Tr>
struct Items {
  using Decode = typename Tr::Decode;
  const PrefillParams& params;
  typename Tr::Shared& shared;

  __device__ int num() const { return shared.decode.num_items; }
  __device__ int index(int n) const { return blockIdx.x + n * gridDim.x; }
  __device__ int head(int n) const { return index(n) % params.attend.num_kv_heads; }
  // Its slot is refilled when the streams have finished item n + 1.
  __device__ const DecodeItem& item(int n) const {
    return shared.decode.items[n % Decode::kItems];
  }
  __device__ void wait_item(int n) const {
    mbarrier_wait(shared.decode.item_full[n % Decode::kItems], n / Decode::kItems & 1);
  }
};

// Keys and values by turns. Pages are looked up in batches of 32 boxes, one per lane, a batch
// before they are needed.
template <class Tr>
class Feeder {
 public:
  __device__ Feeder(const PrefillParams& params, typename Tr::Shared& shared)
      : items_{params, shared}, boxes_(kSlotKeys / params.decode_box_rows) {}

  __device__ void run() {
    const int num = items_.num();
    look_up_item(0);
    for (int n = 0; n < num; ++n) {
      const int first = first_key(n), end = items_.item(n).key_end;
      if (first >= end) look_up_item(n + 1);
      int in_batch = 32;
#pragma unroll 1
      for (int key = first; key < end; key += kSlotKeys, in_batch += boxes_) {
        if (in_batch >= 32) enter_batch(n, key), in_batch = 0;
        copy<typename Decode::KeyTile>(items_.params.decode_key_map, n, in_batch);
        copy<typename Decode::ValueTile>(items_.params.decode_value_map, n, in_batch);
      }
    }
  }

 private:
  using Decode = typename Tr::Decode;
  static __device__ int lane() { return threadIdx.x % 32; }

  // Of the item's first slot.
  __device__ int first_key(int n) const {
    items_.wait_item(n);
    return items_.item(n).key_begin / kSlotKeys * kSlotKeys;
  }

  __device__ __forceinline__ void look_up(int n, int first) {
    const DecodeItem& item = items_.item(n);
    const PagedKeys keys(items_.params.attend, item.req);
    const int box_rows = items_.params.decode_box_rows;
    const int key = first + lane() * box_rows;
    next_page_ = -1;
    if (key >= item.key_end || key + box_rows <= item.key_begin) return;
    next_page_ = keys.page_of(key), next_row_ = keys.row_of(key);
  }
  __device__ __forceinline__ void look_up_item(int n) {
    if (n < items_.num()) look_up(n, first_key(n));
  }

  // The batch that begins at `key`; asks for the pages of the one behind it.
  __device__ __forceinline__ void enter_batch(int n, int key) {
    page_ = next_page_, row_ = next_row_;
    const int next = key + 32 * items_.params.decode_box_rows;
    if (next < items_.item(n).key_end)
      look_up(n, next);
    else
      look_up_item(n + 1);
  }

  // Into the next slot, when the streams have done with it. By one lane: of several, each would
  // have to wait for the one before.
  template <class Tile>
  __device__ __forceinline__ void copy(const CUtensorMap& map, int n, int in_batch) {
    auto& shared = items_.shared;
    const int box_rows = items_.params.decode_box_rows;
    uint64_t& full = shared.slot_full[position_.slot];
    uint32_t to = shared_address(shared.slots[position_.slot]);
    const uint32_t present = __ballot_sync(~0u, page_ >= 0) >> in_batch;
    const int count = __popc(present & ((1u << boxes_) - 1)), head = items_.head(n);
    mbarrier_wait(shared.slot_empty[position_.slot], position_.parity ^ 1);
    if (lane() == 0) mbarrier_arrive_expect_bytes(full, count * box_rows * 128 * Tile::kSlabs);
#pragma unroll 1
    for (int box = 0; box < boxes_; ++box, to += box_rows * 128) {
      const int page = __shfl_sync(~0u, page_, in_batch + box);
      const int row = __shfl_sync(~0u, row_, in_batch + box);
      if (lane() != 0 || page < 0) continue;
#pragma unroll
      for (int slab = 0; slab < Tile::kSlabs; ++slab)
        copy_box_4d_once(to + slab * Tile::kSlabBytes, &map, full, slab * kSlabElements, row, head,
                         page);
    }
    __syncwarp();
    position_.advance();
  }

  const Items<Tr> items_;
  const int boxes_;  // of a slot
  prefill::RingPosition<Tr::kSlots> position_;
  int page_ = -1, row_ = 0;            // of the batch, this lane's box; below 0: it is not needed
  int next_page_ = -1, next_row_ = 0;  // of the batch behind it
};

}  // namespace pagoda::cuda::mixed

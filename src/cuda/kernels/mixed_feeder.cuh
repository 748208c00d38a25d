// Device only. The warp that brings keys and values for the streams of the mixed kernel by the copy
// engine, 64 at a time, and what all of its decoding warps know. Streams have nothing to do but
// multiply: a warp that has its scheduler's attention only now and then is slow at all else.
#pragma once

#include "../device/ptx.cuh"
#include "mixed_traits.cuh"
#include "paged_keys.cuh"

namespace pagoda::cuda::mixed {

// The items of a block, which the clerk takes from the list times key heads, whichever block asks
// first, and puts into slots.
template <class Tr>
struct Items {
  using Decode = typename Tr::Decode;
  const PrefillParams& params;
  typename Tr::Shared& shared;

  // Waits for the block's n-th; whether there is one. Its slot is refilled when the streams have
  // finished item n + 1.
  __device__ bool has(int n) const {
    mbarrier_wait(shared.decode.item_full[n % Decode::kItems], n / Decode::kItems & 1);
    return shared.decode.index[n % Decode::kItems] >= 0;
  }
  __device__ int head(int n) const {
    return shared.decode.index[n % Decode::kItems] % params.attend.num_kv_heads;
  }
  __device__ const DecodeItem& item(int n) const { return shared.decode.items[n % Decode::kItems]; }
};

// How a tile of sixteen keys lies in its part of a slot: one box of sixteen rows, or two of eight,
// each [slabs, rows, 128 bytes]. Rows of a slab swizzled.
struct TileLayout {
  uint32_t upper, slab;  // bytes: from row 0 to row 8, from slab to slab

  __device__ TileLayout(int box_rows, int slabs)
      : upper(box_rows == 8 ? slabs * 1024 : 1024), slab(box_rows * 128) {}
  // In slab 0, where chunk is below 8.
  __device__ uint32_t offset(uint32_t row, uint32_t chunk) const {
    return row / 8 * upper + row % 8 * 128 + 16 * (chunk ^ row % 8);
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
    look_up_item(0);
    for (int n = 0; items_.has(n); ++n) {
      const int first = first_key(n), end = items_.item(n).key_end, head = items_.head(n);
      if (first >= end) look_up_item(n + 1);
      int in_batch = 32;
#pragma unroll 1
      for (int key = first; key < end; key += kSlotKeys, in_batch += boxes_) {
        if (in_batch >= 32) enter_batch(n, key), in_batch = 0;
        copy<Decode::kHeadDim>(items_.params.decode_key_map, head, in_batch);
        copy<Decode::kHeadDimV>(items_.params.decode_value_map, head, in_batch);
      }
    }
  }

 private:
  using Decode = typename Tr::Decode;
  static __device__ int lane() {
    return threadIdx.x % 32;
  }

  // Of the item's first slot.
  __device__ int first_key(int n) const {
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
    if (items_.has(n)) look_up(n, first_key(n));
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
  template <int kDim>
  __device__ __forceinline__ void copy(const CUtensorMap& map, int head, int in_batch) {
    constexpr int kBoxes = kSlotKeys / kTileKeys;  // at once
    auto& shared = items_.shared;
    const int box_bytes = items_.params.decode_box_rows * 2 * kDim;
    const uint32_t present = __ballot_sync(~0u, page_ >= 0) >> in_batch;
    const int count = __popc(present & ((1u << boxes_) - 1));
    uint64_t& full = shared.slot_full[position_.slot];
    uint32_t to = shared_address(shared.slots[position_.slot]);
    mbarrier_wait(shared.slot_empty[position_.slot], position_.parity ^ 1);
    if (lane() == 0) mbarrier_arrive_expect_bytes(full, count * box_bytes);
#pragma unroll 1
    for (int first = in_batch; first < in_batch + boxes_; first += kBoxes) {
      int page[kBoxes], row[kBoxes];
#pragma unroll
      for (int i = 0; i < kBoxes; ++i) {
        page[i] = __shfl_sync(~0u, page_, first + i);
        row[i] = __shfl_sync(~0u, row_, first + i);
      }
#pragma unroll
      for (int i = 0; i < kBoxes; ++i, to += box_bytes)
        if (lane() == 0 && page[i] >= 0)
          copy_box_5d_once(to, &map, full, 0, row[i], 0, head, page[i]);
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

// Device only. The warp that feeds the streams of the mixed kernel: items, queries, and by the copy
// engine keys and values, 64 at a time, which every stream takes sixteen of.
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
  // Slot numbers are powers of two.
  __device__ const DecodeItem& item(int n) const {
    return shared.decode.items[n % Decode::kItems];
  }
  __device__ void wait_item(int n) const {
    mbarrier_wait(shared.decode.item_full[n % Decode::kItems], n / Decode::kItems & 1);
  }
};

template <class Tr>
class DecodeFeeder {
 public:
  __device__ DecodeFeeder(const PrefillParams& params, typename Tr::Shared& shared)
      : items_{params, shared},
        lane_(threadIdx.x % 32),
        boxes_(kSlotKeys / params.box_rows) {}

  __device__ void run() {
    const int num = items_.num();
    if (num == 0) return;
    fetch_item(0), fetch_item(1);
    fetch_query(0);
    look_up(0, first_slot(0));
    for (int n = 0; n < num; ++n) {
      const int first = first_slot(n), end = end_slot(n), at_once = 32 / boxes_;
      const int prepare_at = min(first + 2, end - 1);
      if (first >= end) prepare(n), look_up(n + 1, first_slot(n + 1));
      for (int slot = first; slot < end; ++slot) {
        const int in_batch = (slot - first) % at_once;
        if (in_batch == 0) {
          box_ = next_;
          if (slot + at_once < end)
            look_up(n, slot + at_once);
          else
            look_up(n + 1, first_slot(n + 1));
        }
        copy<typename Decode::KeyTile>(items_.params.key_map, n, in_batch);
        copy<typename Decode::ValueTile>(items_.params.value_map, n, in_batch);
        if (slot == prepare_at) prepare(n);
      }
    }
  }

 private:
  using Decode = typename Tr::Decode;

  // Where eight rows or more that one copy brings lie; below 0: nowhere.
  struct Box {
    int32_t page = -1, row = 0;
  };

  // Of item n, 64 keys each, counted from key 0.
  __device__ int first_slot(int n) const {
    if (n >= items_.num()) return 0;
    items_.wait_item(n);
    return items_.item(n).key_begin / kSlotKeys;
  }
  __device__ int end_slot(int n) const {
    return (items_.item(n).key_end + kSlotKeys - 1) / kSlotKeys;
  }

  // What the items behind n need. When the streams are known to be in item n or near its end, so
  // that nothing here waits for long.
  __device__ void prepare(int n) {
    fetch_item(n + 2);
    fetch_query(n + 1);
  }

  __device__ void fetch_item(int n) {
    if (n >= items_.num()) return;
    auto& shared = items_.shared.decode;
    const int slot = n % Decode::kItems;
    mbarrier_wait(shared.item_empty[slot], n / Decode::kItems & 1 ^ 1);
    const auto* source = reinterpret_cast<const uint8_t*>(
        items_.params.attend.decode_items + items_.index(n) / items_.params.attend.num_kv_heads);
    if (lane_ < static_cast<int>(sizeof(DecodeItem) / 16))
      cp_async_16(shared_address(&shared.items[slot]) + 16 * lane_, source + 16 * lane_, true);
    mbarrier_arrive_after_copies(shared.item_full[slot]);
  }

  __device__ void fetch_query(int n) {
    if (n >= items_.num()) return;
    auto& shared = items_.shared.decode;
    items_.wait_item(n);
    const AttendParams& attend = items_.params.attend;
    const DecodeItem& item = items_.item(n);
    const int slot = n % Decode::kQueries;
    mbarrier_wait(shared.query_empty[slot], n / Decode::kQueries & 1 ^ 1);
    const uint32_t destination = shared_address(shared.queries[slot]);
#pragma unroll 2
    for (int i = lane_; i < Decode::kRows * Decode::kQueryChunks; i += 32) {
      const int row = i / Decode::kQueryChunks, chunk = i % Decode::kQueryChunks;
      const PackedRow packed(attend, item.first_row + row, items_.head(n));
      const auto* source = static_cast<const uint8_t*>(attend.query) +
                           int64_t{item.query_start + packed.token} * attend.query_token_stride +
                           packed.query_head * attend.query_head_stride;
      cp_async_16(destination + Decode::QueryTile::offset(row, chunk), source + 16 * chunk,
                  row < item.num_rows);
    }
    mbarrier_arrive_after_copies(shared.query_full[slot]);
  }

  // Asks for the pages of 32 boxes from a slot on.
  __device__ void look_up(int n, int slot) {
    next_ = {};
    if (n >= items_.num()) return;
    const DecodeItem& item = items_.item(n);
    const PagedKeys keys(items_.params.attend, item.req);
    const int box_rows = items_.params.box_rows;
    const int first = slot * kSlotKeys + lane_ * box_rows;
    if (first < item.key_end && first + box_rows > item.key_begin)
      next_ = {keys.page_of(first), keys.row_of(first)};
  }

  // The in_batch-th of the slots whose boxes are known.
  template <class Tile>
  __device__ void copy(const CUtensorMap& map, int n, int in_batch) {
    auto& shared = items_.shared;
    const int box = lane_ / Tile::kSlabs, slab = lane_ % Tile::kSlabs;
    const int from = in_batch * boxes_;
    const bool is_used = lane_ < boxes_ * Tile::kSlabs;
    const int page = __shfl_sync(~0u, box_.page, (from + box) % 32);
    const int row = __shfl_sync(~0u, box_.row, (from + box) % 32);
    const bool copies = is_used && page >= 0;
    const int count = __popc(__ballot_sync(~0u, copies));
    uint64_t& full = shared.slot_full[position_.slot];
    mbarrier_wait(shared.slot_empty[position_.slot], position_.parity ^ 1);
    if (lane_ == 0) mbarrier_arrive_expect_bytes(full, count * items_.params.box_rows * 128);
    __syncwarp();
    if (copies)
      copy_box_4d_once(shared_address(shared.slots[position_.slot]) + slab * Tile::kSlabBytes +
                           box * items_.params.box_rows * 128,
                       &map, full, slab * kSlabElements, row, items_.head(n), page);
    position_.advance();
  }

  const Items<Tr> items_;
  const int lane_, boxes_;  // boxes_: of a slot
  prefill::RingPosition<Tr::kSlots> position_;
  Box box_, next_;
};

}  // namespace pagoda::cuda::mixed

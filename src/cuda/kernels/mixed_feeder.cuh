// Device only. The warp that feeds the streams of the mixed kernel: items, queries, keys, values.
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
  __device__ const DecodeItem& item(int n) const {
    return shared.decode.items[n % Decode::kItems];
  }
  __device__ void wait_item(int n) const {
    mbarrier_wait(shared.decode.item_full[n % Decode::kItems], n / Decode::kItems & 1);
  }
};

// ---- items and queries --------------------------------------------------------------------------

template <class Tr>
__device__ void fetch_item(const Items<Tr>& items, int n) {
  using Decode = typename Tr::Decode;
  auto& shared = items.shared.decode;
  const int slot = n % Decode::kItems, lane = threadIdx.x % 32;
  mbarrier_wait(shared.item_empty[slot], n / Decode::kItems & 1 ^ 1);
  const AttendParams& attend = items.params.attend;
  const auto* source = reinterpret_cast<const uint8_t*>(attend.decode_items +
                                                        items.index(n) / attend.num_kv_heads);
  if (lane < static_cast<int>(sizeof(DecodeItem) / 16))
    cp_async_16(shared_address(&shared.items[slot]) + 16 * lane, source + 16 * lane, true);
  mbarrier_arrive_after_copies(shared.item_full[slot]);
}

template <class Tr>
__device__ void fetch_query(const Items<Tr>& items, int n) {
  using Decode = typename Tr::Decode;
  auto& shared = items.shared.decode;
  items.wait_item(n);
  const AttendParams& attend = items.params.attend;
  const DecodeItem& item = items.item(n);
  const int slot = n % Decode::kQueries;
  mbarrier_wait(shared.query_empty[slot], n / Decode::kQueries & 1 ^ 1);
  const uint32_t destination = shared_address(shared.queries[slot]);
#pragma unroll 1
  for (int i = threadIdx.x % 32; i < Decode::kRows * Decode::kQueryChunks; i += 32) {
    const int row = i / Decode::kQueryChunks, chunk = i % Decode::kQueryChunks;
    const PackedRow packed(attend, item.first_row + row, items.head(n));
    const auto* source = static_cast<const uint8_t*>(attend.query) +
                         int64_t{item.query_start + packed.token} * attend.query_token_stride +
                         packed.query_head * attend.query_head_stride;
    cp_async_16(destination + Decode::QueryTile::offset(row, chunk), source + 16 * chunk,
                row < item.num_rows);
  }
  mbarrier_arrive_after_copies(shared.query_full[slot]);
}

// ---- keys and values ----------------------------------------------------------------------------

// By one warp, for all streams: 64 keys, then their values, into slots by turns. The streams
// themselves have nothing to do but multiply: a warp alone on its scheduler is slow at all else.
// Pages are looked up in batches of 32, one per lane, a batch before they are needed.
template <class Tr>
class Feeder {
 public:
  __device__ Feeder(const PrefillParams& params, typename Tr::Shared& shared)
      : items_{params, shared} {}

  __device__ void run() {
    const int num = items_.num();
    if (num == 0) return;
    fetch_item(items_, 0);
    if (num > 1) fetch_item(items_, 1);
    fetch_query(items_, 0);
    look_up(0, first_key(0));
    for (int n = 0; n < num; ++n) {
      const DecodeItem& item = items_.item(n);
      const int first = first_key(n);
      if (first >= item.key_end) prepare(n), look_up_item(n + 1);
      for (int key = first; key < item.key_end; key += kSlotKeys) {
        const int in_batch = (key - first) % kBatchKeys / kKeysPerLookup;
        if (in_batch == 0) enter_batch(n, key);
        const AttendParams& attend = items_.params.attend;
        copy<Decode::kQueryChunks, typename Decode::KeyTile>(attend.key, key_at_, n, key, in_batch);
        copy<Decode::kHeadDimV / 8, typename Decode::ValueTile>(attend.value, value_at_, n, key,
                                                                in_batch);
        if (key == first + 2 * kSlotKeys || (key < first + 2 * kSlotKeys &&
                                             key + kSlotKeys >= item.key_end))
          prepare(n);
      }
    }
  }

 private:
  using Decode = typename Tr::Decode;
  static constexpr int kSlotKeys = Decode::kSlotKeys, kBatchKeys = 32 * kKeysPerLookup;
  static __device__ int lane() { return threadIdx.x % 32; }

  // Of the item's first slot.
  __device__ int first_key(int n) const {
    items_.wait_item(n);
    return items_.item(n).key_begin / kSlotKeys * kSlotKeys;
  }

  // What the items behind n need; late enough that the streams have left those in front of it.
  __device__ void prepare(int n) {
    if (n + 2 < items_.num()) fetch_item(items_, n + 2);
    if (n + 1 < items_.num()) fetch_query(items_, n + 1);
  }

  __device__ __forceinline__ void look_up(int n, int first) {
    const DecodeItem& item = items_.item(n);
    const PagedKeys keys(items_.params.attend, item.req);
    const int key = first + lane() * kKeysPerLookup;
    const bool used = key < item.key_end && key + kKeysPerLookup > item.key_begin;
    next_page_ = used ? keys.page_of(key) : 0;
    next_row_ = used ? keys.row_of(key) : 0;
  }
  __device__ void look_up_item(int n) {
    if (n < items_.num()) look_up(n, first_key(n));
  }

  // The batch that begins at `key`; asks for the pages of the one behind it.
  __device__ __forceinline__ void enter_batch(int n, int key) {
    const AttendParams& attend = items_.params.attend;
    key_at_ = place_in(attend.key), value_at_ = place_in(attend.value);
    if (key + kBatchKeys < items_.item(n).key_end)
      look_up(n, key + kBatchKeys);
    else
      look_up_item(n + 1);
  }
  // In units of 16 bytes, of which a cache has fewer than 2^32.
  __device__ uint32_t place_in(const KeyView& view) const {
    return static_cast<uint32_t>((next_page_ * view.page_stride + next_row_ * view.token_stride) >>
                                 4);
  }

  // Into the next slot, when the streams have done with it. Rows that no query of the item sees
  // become zeros: their bytes may be anything, and 0 * NaN would reach the output.
  template <int kChunks, class Tile>
  __device__ __forceinline__ void copy(const KeyView& view, uint32_t at, int n, int first,
                                       int in_batch) {
    auto& shared = items_.shared;
    const DecodeItem& item = items_.item(n);
    mbarrier_wait(shared.slot_empty[position_.slot], position_.parity ^ 1);
    const uint32_t to = shared_address(shared.slots[position_.slot]);
    const auto* base =
        static_cast<const uint8_t*>(view.data) + items_.head(n) * view.head_stride;
    if (first >= item.key_begin && first + kSlotKeys <= item.key_end)
      copy_rows<kChunks, Tile>(to, base, view.token_stride, at, in_batch, 0, kSlotKeys);
    else
      copy_rows<kChunks, Tile>(to, base, view.token_stride, at, in_batch, item.key_begin - first,
                               item.key_end - first);
    mbarrier_arrive_after_copies(shared.slot_full[position_.slot]);
    position_.advance();
  }

  // Rows [begin, end) of the slot are those that count.
  template <int kChunks, class Tile>
  __device__ __forceinline__ void copy_rows(uint32_t to, const uint8_t* base, int64_t token_stride,
                                            uint32_t at, int in_batch, int begin, int end) {
    static_assert(32 % kChunks == 0);
    constexpr int kRows = 32 / kChunks;  // at once
    const int row = lane() / kChunks, chunk = lane() % kChunks;
    const uint8_t* const own = base + row * token_stride + 16 * chunk;
#pragma unroll 2
    for (int group = 0; group < kSlotKeys / kKeysPerLookup; ++group) {
      const uint8_t* source = own + int64_t{__shfl_sync(~0u, at, in_batch + group)} * 16;
#pragma unroll
      for (int i = 0; i < kKeysPerLookup; i += kRows) {
        const int in_slot = group * kKeysPerLookup + i + row;
        cp_async_16_once(to + group * kKeysPerLookup * Tile::kRowBytes + Tile::offset(i, row, chunk),
                         source, in_slot >= begin && in_slot < end);
        source += kRows * token_stride;
      }
    }
  }

  const Items<Tr> items_;
  prefill::RingPosition<Tr::kSlots> position_;
  uint32_t key_at_ = 0, value_at_ = 0;  // of the batch, of this lane's eight keys
  int32_t next_page_ = 0, next_row_ = 0;
};

}  // namespace pagoda::cuda::mixed

// Device only. What the streams of the mixed kernel work on: items and queries, which one warp
// fetches ahead of them, and keys and values, which each stream has the copy engine bring into a
// ring of its own. Between a tile that is done with and the next one in its place nobody else has
// to act, so a small ring keeps much under way.
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

// ---- items and queries, by one warp -------------------------------------------------------------

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

// Two items ahead of the streams, and one with queries.
template <class Tr>
__device__ void fetch_items(const PrefillParams& params, typename Tr::Shared& shared) {
  const Items<Tr> items{params, shared};
  const int num = items.num();
  if (num > 0) fetch_item(items, 0);
  for (int n = 0; n < num; ++n) {
    if (n + 1 < num) fetch_item(items, n + 1);
    fetch_query(items, n);
  }
}

// ---- keys and values, by each stream ------------------------------------------------------------

// Walks the tiles of a stream over all items and has the copy engine bring them: the sixteen keys
// of a tile, then its values, into slots by turns. A tile's pages are looked up when the one before
// it is under way.
template <class Tr>
class StreamLoader {
 public:
  __device__ explicit StreamLoader(const Items<Tr>& items) : items_(items) {}

  // Fills the ring as far as items are known to a stream that is at item `now`.
  __device__ __forceinline__ void fill(int now) {
#pragma unroll 1
    while (pending_ < Tr::kSlots && load_next(now)) {
    }
  }
  __device__ void release() { --pending_; }

 private:
  using Decode = typename Tr::Decode;
  static __device__ int stream() { return threadIdx.x / 32 % 4; }
  static __device__ int lane() { return threadIdx.x % 32; }

  __device__ __forceinline__ bool load_next(int now) {
    if (tile_ >= end_tile_ && !enter_item(now)) return false;
    if (values_next_) {
      copy<typename Decode::ValueTile>(items_.params.value_map);
      tile_ += Decode::kStreams;
      if (tile_ < end_tile_) look_up();
    } else {
      copy<typename Decode::KeyTile>(items_.params.key_map);
    }
    values_next_ = !values_next_;
    position_.advance();
    ++pending_;
    return true;
  }

  // Goes to the next item that has a tile for this stream.
  __device__ __forceinline__ bool enter_item(int now) {
    while (item_ + 1 < items_.num() && item_ <= now) {
      items_.wait_item(++item_);
      const DecodeItem& item = items_.item(item_);
      const int first = item.key_begin / Decode::kTileKeys;
      tile_ = first + ((stream() - first) & (Decode::kStreams - 1));
      end_tile_ = (item.key_end + Decode::kTileKeys - 1) / Decode::kTileKeys;
      if (tile_ >= end_tile_) continue;
      head_ = items_.head(item_);
      look_up();
      return true;
    }
    return false;
  }

  // Where the tile's first (lane 0) and last (lane 1) eight keys lie.
  __device__ __forceinline__ void look_up() {
    const DecodeItem& item = items_.item(item_);
    const int key = tile_ * Decode::kTileKeys + lane() * kKeysPerLookup;
    page_ = -1;
    if (lane() > 1 || key >= item.key_end || key + items_.params.box_rows <= item.key_begin) return;
    const PagedKeys keys(items_.params.attend, item.req);
    page_ = keys.page_of(key), row_ = keys.row_of(key);
  }

  template <class Tile>
  __device__ __forceinline__ void copy(const CUtensorMap& map) const {
    const int box_rows = items_.params.box_rows, boxes = Decode::kTileKeys / box_rows;
    const bool copies = lane() < boxes && page_ >= 0;
    const int count = __popc(__ballot_sync(~0u, copies));
    uint64_t& full = items_.shared.slot_full[stream()][position_.slot];
    if (lane() == 0) mbarrier_arrive_expect_bytes(full, count * box_rows * 128 * Tile::kSlabs);
    __syncwarp();
    if (!copies) return;
    const uint32_t to =
        shared_address(items_.shared.slots[stream()][position_.slot]) + lane() * 8 * 128;
#pragma unroll
    for (int slab = 0; slab < Tile::kSlabs; ++slab)
      copy_box_4d_once(to + slab * Tile::kSlabBytes, &map, full, slab * kSlabElements, row_, head_,
                       page_);
  }

  const Items<Tr> items_;
  int pending_ = 0;  // slots that are under way or not yet released
  prefill::RingPosition<Tr::kSlots> position_;
  int item_ = -1, head_ = 0;
  int tile_ = 0, end_tile_ = 0;
  bool values_next_ = false;
  int page_ = -1, row_ = 0;  // see look_up
};

}  // namespace pagoda::cuda::mixed

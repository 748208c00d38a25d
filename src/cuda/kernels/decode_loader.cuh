// Device only. The side of a stream that reads ahead: walks its tiles over all items of the block
// and copies them into its ring, one tile per call.
//
// Page ids are asked for in batches of 32, one per lane, a batch before they are needed: the loader
// never waits for one that the page table's owner has not long had time to deliver.
#pragma once

#include "decode_traits.cuh"
#include "paged_keys.cuh"

namespace pagoda::cuda::decode {

template <class Tr>
class Loader {
 public:
  int pending = 0;  // tiles on the way or not yet released

  __device__ Loader(const Work<Tr>& work, uint32_t ring)
      : work_(work), ring_(ring), stream_(threadIdx.x / 32), lane_(threadIdx.x % 32) {}

  // In front of the wait for earlier kernels: finds the first tiles, and brings them near while the
  // kernel before ends, unless so few blocks have items that the memory is not busy anyway.
  __device__ void begin() {
    if (enter_batch(0) && work_.shared.fills_device) prefetch_first();
  }

  // Copies the next tiles into the ring while it has room. `now` is the ordinal of the item that
  // the stream is at: items that the clerk cannot have brought yet are left for a later call.
  __device__ void fill(int now) {
    while (pending < Tr::kStages && load_next(now)) {
    }
  }

  // Blocks until the oldest tile has arrived. There must be one.
  __device__ void wait() const {
    if (pending == Tr::kStages)
      cp_async_wait<Tr::kStages - 1>();
    else
      cp_async_wait<0>();
    __syncwarp();
  }

 private:
  static constexpr int kLookups = Tr::kTileKeys / kKeysPerLookup;  // of a tile
  static constexpr int kBatchTiles = 32 / kLookups;                // one lookup per lane

  __device__ bool load_next(int now) {
    if (tile_ >= end_tile_ && !enter_batch(now)) return false;
    if (!has_started_) start();
    copy_tile(ring_ + stage_ * Tr::kStageBytes);
    cp_async_commit();
    stage_ = stage_ + 1 == Tr::kStages ? 0 : stage_ + 1;
    ++pending;
    ++position_;
    tile_ += Tr::kStreams;
    return true;
  }

  // In front of the first tile.
  __device__ void start() {
    work_.wait_for_inputs();
    allow_next_kernel();
    has_started_ = true;
  }

  // Finds the batch behind the current one and asks for its pages.
  __device__ bool find_batch(int now) {
    while (!found_) {
      if (next_item_ >= work_.num_items || next_item_ > now + Tr::kItemsAhead) return false;
      work_.wait_item(next_item_);
      const DecodeItem& item = work_.item(next_item_);
      const int first = item.key_begin / Tr::kTileKeys;
      if (next_tile_ < 0) next_tile_ = first + ((stream_ - first) & (Tr::kStreams - 1));
      if (next_tile_ * Tr::kTileKeys >= item.key_end) {
        ++next_item_, next_tile_ = -1;
        continue;
      }
      const PagedKeys keys(work_.params, item.req);
      const int tile = next_tile_ + lane_ / kLookups * Tr::kStreams;
      const int key = tile * Tr::kTileKeys + lane_ % kLookups * kKeysPerLookup;
      const bool used = key < item.key_end && key + kKeysPerLookup > item.key_begin;
      next_page_ = used ? keys.page_of_now(key) : 0;
      next_row_ = used ? keys.row_of(key) : 0;
      found_ = true;
    }
    return true;
  }

  __device__ bool enter_batch(int now) {
    if (!find_batch(now)) return false;
    const DecodeItem& item = work_.item(next_item_);
    const int head = work_.head(next_item_);
    const AttendParams& params = work_.params;
    keys_ = static_cast<const uint8_t*>(params.key.data) + head * params.key.head_stride;
    values_ = static_cast<const uint8_t*>(params.value.data) + head * params.value.head_stride;
    key_begin_ = item.key_begin, key_end_ = item.key_end;
    key_at_ = place_in(params.key), value_at_ = place_in(params.value);
    if constexpr (Tr::kIsQuantised) {
      key_scale_at_ = place_in(params.key_scale, head);
      value_scale_at_ = place_in(params.value_scale, head);
    }
    tile_ = next_tile_, position_ = 0;
    const int item_end = (key_end_ + Tr::kTileKeys - 1) / Tr::kTileKeys;
    end_tile_ = min(tile_ + kBatchTiles * Tr::kStreams, item_end);
    next_tile_ += kBatchTiles * Tr::kStreams;
    found_ = false;
    find_batch(now);
    return true;
  }

  // Brings the ring's first tiles near while kernels that may still write keys run.
  __device__ void prefetch_first() const {
    const AttendParams& params = work_.params;
#pragma unroll 1
    for (int i = 0; i < Tr::kStages && i < kBatchTiles && tile_ + i * Tr::kStreams < end_tile_;
         ++i) {
      prefetch_rows<Tr::kKeyChunks>(i, keys_, key_at_, params.key.token_stride);
      prefetch_rows<Tr::kValueChunks>(i, values_, value_at_, params.value.token_stride);
    }
  }
  // i: tile of the batch
  template <int kChunks>
  __device__ void prefetch_rows(int i, const uint8_t* base, uint32_t at,
                                int64_t token_stride) const {
    constexpr int kLines = (kChunks + 7) / 8;  // of a row
#pragma unroll
    for (int first = 0; first < Tr::kTileKeys * kLines; first += 32) {
      const int row = (first + lane_) / kLines, line = (first + lane_) % kLines;
      const int key = (tile_ + i * Tr::kStreams) * Tr::kTileKeys + row;
      const int64_t eight = __shfl_sync(~0u, at, kLookups * i + row / kKeysPerLookup);
      if (row < Tr::kTileKeys && key >= key_begin_ && key < key_end_)
        prefetch_line(base + eight * 16 + row % kKeysPerLookup * token_stride + 128 * line);
    }
  }

  // Where this lane's eight keys lie, in units of 16 bytes, of which a cache has fewer than 2^32.
  __device__ uint32_t place_in(const KeyView& view) const {
    return static_cast<uint32_t>((next_page_ * view.page_stride + next_row_ * view.token_stride) >>
                                 4);
  }
  __device__ int64_t place_in(const KeyScales& scales, int head) const {
    return next_page_ * scales.page_stride + next_row_ * scales.token_stride +
           head * scales.head_stride;
  }

  __device__ void copy_tile(uint32_t destination) const {
    const int first = tile_ * Tr::kTileKeys;
    if (first >= key_begin_ && first + Tr::kTileKeys <= key_end_)
      copy_tile<true>(destination);
    else
      copy_tile<false>(destination);
  }

  // kAllSeen: by some query of the item.
  template <bool kAllSeen>
  __device__ void copy_tile(uint32_t destination) const {
    const AttendParams& params = work_.params;
    copy_rows<Tr::kKeyChunks, typename Tr::KeyTile, kAllSeen>(destination, keys_, key_at_,
                                                              params.key.token_stride);
    copy_rows<Tr::kValueChunks, typename Tr::ValueTile, kAllSeen>(
        destination + Tr::kKeyBytes, values_, value_at_, params.value.token_stride);
    if constexpr (Tr::kIsQuantised) copy_scales(destination + Tr::kScalesAt);
  }

  // A lane for each key: its scale and that of its value.
  __device__ void copy_scales(uint32_t destination) const {
    const AttendParams& params = work_.params;
    const int key = tile_ * Tr::kTileKeys + lane_;
    const bool seen = key >= key_begin_ && key < key_end_;
    copy_scale(destination + 4 * lane_, params.key_scale, key_scale_at_, seen);
    if (params.value_scale.data)
      copy_scale(destination + 4 * (Tr::kTileKeys + lane_), params.value_scale, value_scale_at_,
                 seen);
  }
  __device__ void copy_scale(uint32_t destination, const KeyScales& scales, int64_t at,
                             bool seen) const {
    const int64_t eight = __shfl_sync(~0u, at, kLookups * position_ + lane_ / kKeysPerLookup);
    if (lane_ < Tr::kTileKeys)
      cp_async_4(destination, scales.data + eight + lane_ % kKeysPerLookup * scales.token_stride,
                 seen);
  }

  // Rows that no query of the item sees become zeros: their bytes may be anything, NaN included,
  // and 0 * NaN would reach the output. at: of this lane's lookup
  template <int kChunks, class Tile, bool kAllSeen>
  __device__ void copy_rows(uint32_t destination, const uint8_t* base, uint32_t at,
                            int64_t token_stride) const {
    const int first = tile_ * Tr::kTileKeys;
    const auto is_seen = [&](int row) {
      return kAllSeen || (first + row >= key_begin_ && first + row < key_end_);
    };
    const auto place_of = [&](int row) {
      return int64_t{__shfl_sync(~0u, at, kLookups * position_ + row / kKeysPerLookup)} * 16;
    };
    constexpr int kCopies = Tr::kTileKeys * kChunks;
    if constexpr (32 % kChunks == 0 && 32 / kChunks <= 8) {  // a copy stays within eight rows
      constexpr int kRows = 32 / kChunks;
      const int row = lane_ / kChunks, chunk = lane_ % kChunks;
      const uint8_t* own = base + row * token_stride + 16 * chunk;
      const uint8_t* source = own;
#pragma unroll
      for (int i = 0; i < kCopies / 32; ++i) {
        if (kRows * i % kKeysPerLookup == 0) source = own + place_of(kRows * i);
        cp_async_16_once(destination + Tile::offset(kRows * i, row, chunk), source,
                         is_seen(kRows * i + row));
        source += kRows * token_stride;
      }
    } else {
      const int lane = recomputed(lane_);
#pragma unroll
      for (int i = 0; i < (kCopies + 31) / 32; ++i) {
        const int copy = i * 32 + lane, row = copy / kChunks, chunk = copy % kChunks;
        const uint8_t* source = base + place_of(row) + row % 8 * token_stride + 16 * chunk;
        if (kCopies % 32 == 0 || copy < kCopies)
          cp_async_16_once(destination + Tile::offset(row, chunk), source, is_seen(row));
      }
    }
  }

  const Work<Tr>& work_;
  const uint32_t ring_;  // shared address
  const int stream_, lane_;
  int stage_ = 0;
  bool has_started_ = false;

  // The batch that is being copied.
  int tile_ = 0, end_tile_ = 0, position_ = 0;  // tiles of keys; how many of the batch are done
  int key_begin_ = 0, key_end_ = 0;
  const uint8_t* keys_ = nullptr;
  const uint8_t* values_ = nullptr;
  // Of lane l: lookup l % kLookups of tile l / kLookups.
  uint32_t key_at_ = 0, value_at_ = 0;
  int64_t key_scale_at_ = 0, value_scale_at_ = 0;

  // The batch after it.
  bool found_ = false;
  int next_item_ = 0, next_tile_ = -1;  // below 0: the item's first tile of this stream
  int32_t next_page_ = 0, next_row_ = 0;
};

}  // namespace pagoda::cuda::decode

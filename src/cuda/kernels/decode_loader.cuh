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
      : work_(work), ring_(ring), stream_(threadIdx.x / 32), lane_(threadIdx.x % 32) {
    for (int i = 0; i < Tr::kStages; ++i) load_next(0);
  }

  // Copies the next tile into the ring, which must have room. `now` is the ordinal of the item that
  // the stream is at: items that the clerk cannot have brought yet are left for a later call.
  __device__ void load_next(int now) {
    if (tile_ >= end_tile_ && !enter_batch(now)) return;
    const uint32_t destination = ring_ + stage_ * Tr::kStageBytes;
    copy_tile(destination);
    cp_async_commit();
    stage_ = stage_ + 1 == Tr::kStages ? 0 : stage_ + 1;
    ++pending;
    ++position_;
    tile_ += Tr::kStreams;
  }

  // Blocks until the oldest tile has arrived.
  __device__ void wait(int now) {
    while (pending == 0) load_next(now);
    if (pending == Tr::kStages)
      cp_async_wait<Tr::kStages - 1>();
    else
      cp_async_wait<0>();
    __syncwarp();
  }

 private:
  static constexpr int kBatchTiles = 16;  // two lookups each: one per lane

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
      const int tile = next_tile_ + lane_ / 2 * Tr::kStreams;
      const int key = tile * Tr::kTileKeys + lane_ % 2 * kKeysPerLookup;
      const bool used = key < item.key_end && key + kKeysPerLookup > item.key_begin;
      next_page_ = used ? keys.page_of(key) : 0;
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
    tile_ = next_tile_, page_ = next_page_, row_ = next_row_, position_ = 0;
    const int item_end = (key_end_ + Tr::kTileKeys - 1) / Tr::kTileKeys;
    end_tile_ = min(tile_ + kBatchTiles * Tr::kStreams, item_end);
    next_tile_ += kBatchTiles * Tr::kStreams;
    found_ = false;
    find_batch(now);
    return true;
  }

  __device__ void copy_tile(uint32_t destination) const {
    const AttendParams& params = work_.params;
    int64_t key_offset[2], value_offset[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t page = __shfl_sync(~0u, page_, 2 * position_ + half);
      const int64_t row = __shfl_sync(~0u, row_, 2 * position_ + half);
      key_offset[half] = page * params.key.page_stride + row * params.key.token_stride;
      value_offset[half] = page * params.value.page_stride + row * params.value.token_stride;
    }
    copy_rows<Tr::kKeyChunks, typename Tr::KeyTile>(destination, keys_, key_offset,
                                                    params.key.token_stride);
    copy_rows<Tr::kValueChunks, typename Tr::ValueTile>(destination + Tr::kKeyBytes, values_,
                                                        value_offset, params.value.token_stride);
  }

  // Rows that no query of the item sees become zeros: their bytes may be anything, NaN included,
  // and 0 * NaN would reach the output.
  template <int kChunks, class Tile>
  __device__ void copy_rows(uint32_t destination, const uint8_t* base, const int64_t (&offset)[2],
                            int64_t token_stride) const {
    const int first = tile_ * Tr::kTileKeys;
    constexpr int kCopies = Tr::kTileKeys * kChunks;
    static_assert(kCopies % 32 == 0);
#pragma unroll
    for (int i = 0; i < kCopies / 32; ++i) {
      const int copy = i * 32 + lane_, row = copy / kChunks, chunk = copy % kChunks;
      const bool seen = first + row >= key_begin_ && first + row < key_end_;
      const uint8_t* source =
          base + (row < 8 ? offset[0] : offset[1]) + (row & 7) * token_stride + chunk * 16;
      cp_async_16(destination + Tile::offset(row, chunk), source, seen);
    }
  }

  const Work<Tr>& work_;
  const uint32_t ring_;  // shared address
  const int stream_, lane_;
  int stage_ = 0;

  // The batch that is being copied.
  int tile_ = 0, end_tile_ = 0, position_ = 0;  // tiles of 16 keys; how many of the batch are done
  int key_begin_ = 0, key_end_ = 0;
  const uint8_t* keys_ = nullptr;
  const uint8_t* values_ = nullptr;
  int32_t page_ = 0, row_ = 0;  // of lane l: page of half l % 2 of tile l / 2, its first row there

  // The batch after it.
  bool found_ = false;
  int next_item_ = 0, next_tile_ = -1;  // below 0: the item's first tile of this stream
  int32_t next_page_ = 0, next_row_ = 0;
};

}  // namespace pagoda::cuda::decode

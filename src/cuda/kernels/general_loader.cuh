// Device only. Brings tiles of keys and values from their pages, with their scales, and makes
// 16-bit rows of codes. By all threads of the block, eight to a row.
#pragma once

#include "../device/dequant.cuh"
#include "general_traits.cuh"
#include "paged_keys.cuh"

namespace pagoda::cuda::general {

// One of keys and values.
struct Side {
  const KeyView& view;
  const KeyScales& scale;
  Code code;
  bool by_16;  // rows start at multiples of 16 bytes; if not, of 4, as codes may

  __device__ Side(const KeyView& view, const KeyScales& scale, CacheFormat format)
      : view(view), scale(scale), code(format.code) {
    const uint64_t all =
        reinterpret_cast<uintptr_t>(view.data) |
        static_cast<uint64_t>(view.page_stride | view.token_stride | view.head_stride);
    by_16 = all % 16 == 0;
  }
};

template <class Tr>
class Loader {
 public:
  __device__ Loader(const AttendParams& params, typename Tr::Shared& shared)
      : shared_(shared),
        key_(params.key, params.key_scale, params.key_format),
        value_(params.value, params.value_scale, params.value_format) {}

  // Where eight keys of a tile lie; the first lanes of each warp have one of these each.
  struct Place {
    int32_t page = 0, row = 0;
  };
  __device__ Place look_up(const PagedKeys& keys, const PrefillTile& tile, int index) const {
    const int lane = threadIdx.x % 32, first = index * Tr::kKeys + lane * kKeysPerLookup;
    const bool used = lane < Tr::kKeys / kKeysPerLookup && first < tile.key_end &&
                      first + kKeysPerLookup > tile.key_begin;
    return used ? Place{keys.page_of(first), keys.row_of(first)} : Place{};
  }

  // The copies of tile `index` into a stage; the caller commits. Rows that no query of the work
  // sees become zeros: their bytes may be anything, NaN included, and 0 * NaN would reach the
  // output.
  __device__ void load(const Place& place, const PrefillTile& tile, int head, int index,
                       int stage) const {
    const int64_t key_at = offset_of(key_.view, place, head);
    const int64_t value_at = offset_of(value_.view, place, head);
#pragma unroll 1
    for (int row = threadIdx.x / kLanes; row < Tr::kKeys; row += Tr::kThreads / kLanes) {
      const int eight = row / kKeysPerLookup, in_eight = row % kKeysPerLookup;
      const bool seen = is_seen(tile, index, row);
      load_row<Tr::kHeadDim, typename Tr::KeyTile>(
          shared_.key, key_, __shfl_sync(~0u, key_at, eight) + in_eight * key_.view.token_stride,
          row, stage, seen);
      load_row<Tr::kHeadDimV, typename Tr::ValueTile>(
          shared_.value, value_,
          __shfl_sync(~0u, value_at, eight) + in_eight * value_.view.token_stride, row, stage,
          seen);
    }
    if (key_.scale.data) load_scales(place, tile, head, index, stage);
  }

  __device__ bool has_codes() const {
    return key_.code != Code::same || value_.code != Code::same;
  }
  // Codes of a stage to the rows at work. Between two meetings of the block.
  __device__ void widen(int stage) const {
    widen_side<Tr::kHeadDim, typename Tr::KeyTile>(shared_.key, key_, stage);
    widen_side<Tr::kHeadDimV, typename Tr::ValueTile>(shared_.value, value_, stage);
  }
  // Where the rows of a stage are, as shared addresses.
  __device__ uint32_t key_rows(int stage) const {
    return rows_of(shared_.key, key_, stage);
  }
  __device__ uint32_t value_rows(int stage) const {
    return rows_of(shared_.value, value_, stage);
  }

 private:
  static constexpr int kLanes = 8;

  template <class Ring>
  static __device__ uint32_t rows_of(Ring& ring, const Side& side, int stage) {
    return shared_address(ring.stages[side.code == Code::same ? stage : 0]);
  }
  // Codes lie row behind row.
  template <int kDim, class Ring>
  static __device__ uint32_t codes_of(Ring& ring, int stage) {
    return shared_address(ring.stages[1]) + stage * Tr::kKeys * kDim;
  }

  static __device__ bool is_seen(const PrefillTile& tile, int index, int row) {
    const int key = index * Tr::kKeys + row;
    return key >= tile.key_begin && key < tile.key_end;
  }
  static __device__ int64_t offset_of(const KeyView& view, const Place& place, int head) {
    return place.page * view.page_stride + place.row * view.token_stride + head * view.head_stride;
  }

  template <int kDim, class Tile, class Ring>
  static __device__ void load_row(Ring& ring, const Side& side, int64_t offset, int row, int stage,
                                  bool seen) {
    const int lane = threadIdx.x % kLanes;
    const auto* source = static_cast<const uint8_t*>(side.view.data) + offset;
    if (side.code == Code::same) {
      const uint32_t to = shared_address(ring.stages[stage]);
#pragma unroll
      for (int chunk = lane; chunk < kDim / 8; chunk += kLanes)
        cp_async_16(to + Tile::offset(row, chunk), source + 16 * chunk, seen);
      return;
    }
    const uint32_t to = codes_of<kDim>(ring, stage) + row * kDim;
    if (side.by_16) {
#pragma unroll
      for (int chunk = lane; chunk < kDim / 16; chunk += kLanes)
        cp_async_16(to + 16 * chunk, source + 16 * chunk, seen);
    } else {
      for (int word = lane; word < kDim / 4; word += kLanes)
        cp_async_4(to + 4 * word, source + 4 * word, seen);
    }
  }

  // A thread for each key, and one for each value.
  __device__ void load_scales(const Place& place, const PrefillTile& tile, int head, int index,
                              int stage) const {
    const int row = threadIdx.x % Tr::kKeys, side = threadIdx.x / Tr::kKeys;
    const int64_t page = __shfl_sync(~0u, place.page, row / kKeysPerLookup);
    const int64_t in_page =
        __shfl_sync(~0u, place.row, row / kKeysPerLookup) + row % kKeysPerLookup;
    const KeyScales& scales = side == 0 ? key_.scale : value_.scale;
    if (side > 1 || scales.data == nullptr) return;
    float& to = side == 0 ? shared_.key_scale[stage][row] : shared_.value_scale[stage][row];
    cp_async_4(shared_address(&to),
               scales.data + page * scales.page_stride + in_page * scales.token_stride +
                   head * scales.head_stride,
               is_seen(tile, index, row));
  }

  template <int kDim, class Tile, class Ring>
  static __device__ void widen_side(Ring& ring, const Side& side, int stage) {
    const uint32_t from = codes_of<kDim>(ring, stage), to = shared_address(ring.stages[0]);
    if (side.code == Code::int8)
      widen_rows<kDim, Tile, Widen<typename Tr::Type, Code::int8>>(from, to);
    else if (side.code == Code::e4m3)
      widen_rows<kDim, Tile, Widen<typename Tr::Type, Code::e4m3>>(from, to);
  }

  template <int kDim, class Tile, class Widen>
  static __device__ void widen_rows(uint32_t from, uint32_t to) {
    constexpr int kChunks = kDim / 8;  // of rows; half as many bytes of codes
    for (int i = threadIdx.x; i < Tr::kKeys * kChunks; i += Tr::kThreads) {
      const uint2 codes = load_shared_8(from + 8 * i);
      uint32_t even[2], odd[2];
      Widen::four(codes.x, even[0], odd[0]);
      Widen::four(codes.y, even[1], odd[1]);
      store_shared_16(to + Tile::offset(i / kChunks, i % kChunks),
                      {__byte_perm(even[0], odd[0], 0x5410), __byte_perm(even[0], odd[0], 0x7632),
                       __byte_perm(even[1], odd[1], 0x5410), __byte_perm(even[1], odd[1], 0x7632)});
    }
  }

  typename Tr::Shared& shared_;
  const Side key_, value_;
};

}  // namespace pagoda::cuda::general

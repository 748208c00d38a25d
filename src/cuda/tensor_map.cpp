#include "tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <numeric>

#include "../core/strides.h"
#include "check_cuda.h"
#include "schedule.h"

namespace pagoda::cuda {
namespace {

// The driver's function by way of the runtime, so that nothing links against the driver.
PFN_cuTensorMapEncodeTiled_v12000 encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found),
             "looking up cuTensorMapEncodeTiled");
  expect(found == cudaDriverEntryPointSuccess && function, PAGODA_DEVICE_ERROR,
         "this driver has no cuTensorMapEncodeTiled; it must be of CUDA 12.0 or later");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

cuuint64_t size(int64_t n) {
  return static_cast<cuuint64_t>(n);
}

std::string why_not_tma_of(const KeyView& view, Dtype dtype) {
  const auto element = static_cast<int64_t>(size_of(dtype));
  const int64_t shape[] = {view.num_pages, view.num_kv_heads, view.page_size, view.head_dim};
  const int64_t stride[] = {view.page_stride / element, view.head_stride / element,
                            view.token_stride / element, 1};
  return why_not_tma(view.data, dtype, 4, shape, stride);
}

// Of `rank` dimensions, innermost first; strides in bytes, without the first.
CUtensorMap encode_map(const KeyView& view, Dtype dtype, cuuint32_t rank, const cuuint64_t* dims,
                       const cuuint64_t* strides, const cuuint32_t* box) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encode_function();
  const std::string reason = why_not_tma_of(view, dtype);
  expect(reason.empty(), PAGODA_UNSUPPORTED,
         "keys or values that the copy engine cannot address: ", reason);
  const cuuint32_t steps[] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result = encode(
      &map,
      dtype == PAGODA_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      rank, const_cast<void*>(view.data), dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  expect(result == CUDA_SUCCESS, PAGODA_DEVICE_ERROR, "cuTensorMapEncodeTiled answered ",
         static_cast<int>(result), " to a tensor that passed every check");
  return map;
}

}  // namespace

int32_t box_rows_of(int32_t page_size, int32_t tile_keys) {
  return page_size == 0 ? tile_keys : std::gcd(page_size, tile_keys);
}

CUtensorMap make_key_map(const KeyView& view, Dtype dtype, int32_t box_rows) {
  const cuuint64_t dims[] = {size(view.head_dim), size(view.page_size), size(view.num_kv_heads),
                             size(view.num_pages)};
  const cuuint64_t strides[] = {size(view.token_stride), size(view.head_stride),
                                size(view.page_stride)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1, 1};
  return encode_map(view, dtype, 4, dims, strides, box);
}

CUtensorMap make_row_map(const KeyView& view, Dtype dtype, int32_t box_rows) {
  constexpr int64_t kSlab = 64;  // elements
  const auto slabs = view.head_dim / kSlab;
  const cuuint64_t dims[] = {size(kSlab), size(view.page_size), size(slabs),
                             size(view.num_kv_heads), size(view.num_pages)};
  const cuuint64_t strides[] = {size(view.token_stride), size_of(dtype) * size(kSlab),
                                size(view.head_stride), size(view.page_stride)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), static_cast<cuuint32_t>(slabs),
                            1, 1};
  return encode_map(view, dtype, 5, dims, strides, box);
}

std::optional<CUtensorMap> make_packed_map(const KeyView& view, Dtype dtype, int32_t group) {
  if (kHalfTileRows % group != 0 || !why_not_tma_of(view, dtype).empty()) return std::nullopt;
  const cuuint64_t dims[] = {size(view.head_dim), size(view.num_kv_heads), size(view.page_size)};
  const cuuint64_t strides[] = {size(view.head_stride), size(view.token_stride)};
  const auto heads = static_cast<cuuint32_t>(group);
  const cuuint32_t box[] = {64, heads, kHalfTileRows / heads};
  return encode_map(view, dtype, 3, dims, strides, box);
}

std::optional<CUtensorMap> PackedMaps::find(const KeyView& view, Dtype dtype, int32_t group) {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_)
    if (entry.view == view && entry.dtype == dtype && entry.group == group) return entry.map;
  const std::optional<CUtensorMap> map = make_packed_map(view, dtype, group);
  if (map) entries_[next_++ % entries_.size()] = {view, dtype, group, *map};
  return map;
}

CUtensorMap KeyMaps::find(const KeyView& view, Dtype dtype, int32_t box_rows) {
  return find(view, dtype, box_rows, false);
}
CUtensorMap KeyMaps::find_rows(const KeyView& view, Dtype dtype, int32_t box_rows) {
  return find(view, dtype, box_rows, true);
}

CUtensorMap KeyMaps::find(const KeyView& view, Dtype dtype, int32_t box_rows, bool whole_rows) {
  const std::lock_guard lock(mutex_);
  const auto [begin, end] = entries_.equal_range(view.data);
  for (auto entry = begin; entry != end; ++entry)
    if (entry->second.view == view && entry->second.dtype == dtype &&
        entry->second.box_rows == box_rows && entry->second.whole_rows == whole_rows)
      return entry->second.map;
  const CUtensorMap map = (whole_rows ? make_row_map : make_key_map)(view, dtype, box_rows);
  if (entries_.size() >= kMost) entries_.clear();
  entries_.emplace(view.data, Entry{view, dtype, box_rows, whole_rows, map});
  return map;
}

}  // namespace pagoda::cuda

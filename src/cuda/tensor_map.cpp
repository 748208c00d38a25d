#include "tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <numeric>

#include "../core/strides.h"
#include "check_cuda.h"

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

}  // namespace

int32_t box_rows_of(int32_t page_size, int32_t tile_keys) {
  return page_size == 0 ? tile_keys : std::gcd(page_size, tile_keys);
}

CUtensorMap make_key_map(const KeyView& view, Dtype dtype, int32_t box_rows) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encode_function();
  const auto element = static_cast<int64_t>(size_of(dtype));
  const int64_t shape[] = {view.num_pages, view.num_kv_heads, view.page_size, view.head_dim};
  const int64_t stride[] = {view.page_stride / element, view.head_stride / element,
                            view.token_stride / element, 1};
  const std::string reason = why_not_tma(view.data, dtype, 4, shape, stride);
  expect(reason.empty(), PAGODA_UNSUPPORTED,
         "keys or values that the copy engine cannot address: ", reason);

  const auto size = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t dims[] = {size(view.head_dim), size(view.page_size), size(view.num_kv_heads),
                             size(view.num_pages)};
  const cuuint64_t strides[] = {size(view.token_stride), size(view.head_stride),
                                size(view.page_stride)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1, 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result = encode(
      &map,
      dtype == PAGODA_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
      const_cast<void*>(view.data), dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  expect(result == CUDA_SUCCESS, PAGODA_DEVICE_ERROR, "cuTensorMapEncodeTiled answered ",
         static_cast<int>(result), " to a tensor that passed every check");
  return map;
}

CUtensorMap KeyMaps::find(const KeyView& view, Dtype dtype, int32_t box_rows) {
  const std::lock_guard lock(mutex_);
  const auto [begin, end] = entries_.equal_range(view.data);
  for (auto entry = begin; entry != end; ++entry)
    if (entry->second.view == view && entry->second.dtype == dtype &&
        entry->second.box_rows == box_rows)
      return entry->second.map;
  const CUtensorMap map = make_key_map(view, dtype, box_rows);
  if (entries_.size() >= kMost) entries_.clear();
  entries_.emplace(view.data, Entry{view, dtype, box_rows, map});
  return map;
}

}  // namespace pagoda::cuda

// Writes a step's keys and values into their pages: one launch for both. A cache of the caller's
// type gets a bit copy, 16 bytes per thread where every row starts at a multiple of 16, otherwise
// an element; a quantised one the codes and scales of core/kv_format.h, a warp for each row.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../../core/kv_format.h"
#include "../device/ptx.cuh"
#include "../launch.h"
#include "../update_params.h"

namespace pagoda::cuda {
namespace {

constexpr int kThreads = 256;

// Where a token goes.
struct Place {
  int64_t page, row;
  bool exists;  // slots outside the cache are not written

  __device__ Place(const CacheWriteParams& params, int64_t token) {
    const int64_t page_size = params.key.cache.page_size, slot = params.slot_mapping[token];
    page = slot / page_size, row = slot % page_size;
    exists = slot >= 0 && slot < page_size * params.key.cache.num_pages;
  }
};

__device__ const uint8_t* source_of(const CacheWriteSide& side, int64_t token, int head) {
  return static_cast<const uint8_t*>(side.source) + token * side.source_token_stride +
         head * side.source_head_stride;
}
__device__ uint8_t* row_of(const CacheWriteSide& side, const Place& place, int head) {
  return static_cast<uint8_t*>(const_cast<void*>(side.cache.data)) +
         place.page * side.cache.page_stride + place.row * side.cache.token_stride +
         head * side.cache.head_stride;
}

// Copies one unit of a token's keys or values; `unit` counts over the heads.
template <class Unit>
__device__ void copy_unit(const CacheWriteSide& side, int64_t token, const Place& place,
                          int units_per_head, int unit) {
  const int head = unit / units_per_head, within = unit % units_per_head;
  reinterpret_cast<Unit*>(row_of(side, place, head))[within] =
      reinterpret_cast<const Unit*>(source_of(side, token, head))[within];
}

// One block per token.
template <class Unit>
__global__ void __launch_bounds__(kThreads)
    copy_rows(const __grid_constant__ CacheWriteParams params) {
  wait_for_earlier_kernels();
  allow_next_kernel();
  const int64_t token = blockIdx.x;
  const Place place(params, token);
  if (!place.exists) return;
  const int heads = static_cast<int>(params.key.cache.num_kv_heads);
  const int key_units = static_cast<int>(params.key.cache.head_dim * 2 / sizeof(Unit));
  const int value_units = static_cast<int>(params.value.cache.head_dim * 2 / sizeof(Unit));
  for (int i = threadIdx.x; i < heads * (key_units + value_units); i += kThreads) {
    if (i < heads * key_units)
      copy_unit<Unit>(params.key, token, place, key_units, i);
    else
      copy_unit<Unit>(params.value, token, place, value_units, i - heads * key_units);
  }
}

__device__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ float to_float(__half x) {
  return __half2float(x);
}

__device__ uint8_t encode(Code code, float x, float inverse_scale) {
  return code == Code::int8 ? static_cast<uint8_t>(encode_int8(x, inverse_scale))
                            : encode_e4m3(x, inverse_scale).bits;
}

// The scale of a row, which the warp's first lane stores.
template <class T>
__device__ float make_scale(const CacheWriteSide& side, const T* x, const Place& place, int head) {
  float absmax = 0;
  for (int i = threadIdx.x % 32; i < side.cache.head_dim; i += 32)
    absmax = grow_absmax(absmax, to_float(x[i]));
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2)
    absmax = fmaxf(absmax, __shfl_xor_sync(~0u, absmax, lanes));
  const float scale = scale_of_row(side.format.code, absmax);
  if (threadIdx.x % 32 == 0)
    const_cast<float*>(
        side.made.data)[place.page * side.made.page_stride + place.row * side.made.token_stride +
                        head * side.made.head_stride] = scale;
  return scale;
}

// One row of one head, by a warp.
template <class T>
__device__ void write_row(const CacheWriteSide& side, int64_t token, const Place& place, int head) {
  const int lane = threadIdx.x % 32, dim = static_cast<int>(side.cache.head_dim);
  const T* x = reinterpret_cast<const T*>(source_of(side, token, head));
  uint8_t* to = row_of(side, place, head);
  if (side.format.code == Code::same) {
    for (int i = lane; i < dim; i += 32) reinterpret_cast<T*>(to)[i] = x[i];
    return;
  }
  const bool is_made = side.format.scale == ScaleOf::token;
  const float* given = side.given.data + head * side.given.head_stride;
  float inverse = is_made ? 1 / make_scale(side, x, place, head) : 0;
  for (int i = lane; i < dim; i += 32) {
    if (!is_made) inverse = 1 / given[i * side.given.channel_stride];
    to[i] = encode(side.format.code, to_float(x[i]), inverse);
  }
}

// One block per token.
template <class T>
__global__ void __launch_bounds__(kThreads)
    write_rows(const __grid_constant__ CacheWriteParams params) {
  wait_for_earlier_kernels();
  allow_next_kernel();
  const int64_t token = blockIdx.x;
  const Place place(params, token);
  if (!place.exists) return;
  const int heads = static_cast<int>(params.key.cache.num_kv_heads);
  for (int i = threadIdx.x / 32; i < 2 * heads; i += kThreads / 32)
    write_row<T>(i < heads ? params.key : params.value, token, place, i < heads ? i : i - heads);
}

bool is_aligned(const CacheWriteSide& side) {
  return (reinterpret_cast<uintptr_t>(side.source) | reinterpret_cast<uintptr_t>(side.cache.data) |
          static_cast<uint64_t>(side.source_token_stride | side.source_head_stride |
                                side.cache.page_stride | side.cache.token_stride |
                                side.cache.head_stride)) %
             16 ==
         0;
}

const void* kernel_for(const CacheWriteParams& params) {
  if (params.key.format.code != Code::same || params.value.format.code != Code::same)
    return params.dtype == PAGODA_BF16 ? reinterpret_cast<const void*>(&write_rows<__nv_bfloat16>)
                                       : reinterpret_cast<const void*>(&write_rows<__half>);
  return is_aligned(params.key) && is_aligned(params.value)
             ? reinterpret_cast<const void*>(&copy_rows<uint4>)
             : reinterpret_cast<const void*>(&copy_rows<uint16_t>);
}

}  // namespace

void launch_update_cache(const CacheWriteParams& params, cudaStream_t stream) {
  if (params.num_tokens == 0) return;
  launch(kernel_for(params), {.blocks = params.num_tokens, .threads = kThreads}, params, stream,
         "launching update_cache");
}

}  // namespace pagoda::cuda

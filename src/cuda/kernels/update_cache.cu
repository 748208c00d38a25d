// Writes a step's keys and values into their pages: one launch for both, a bit copy. Threads copy
// 16 bytes each where every row starts at a multiple of 16, otherwise an element.
#include "../device/ptx.cuh"
#include "../launch.h"
#include "../update_params.h"

namespace pagoda::cuda {
namespace {

constexpr int kThreads = 256;

// Copies one unit of a token's keys or values; `unit` counts over the heads.
template <class Unit>
__device__ void copy_unit(const CacheWriteSide& side, int64_t token, int64_t page, int64_t row,
                          int units_per_head, int unit) {
  const int head = unit / units_per_head, within = unit % units_per_head;
  const auto* from = static_cast<const uint8_t*>(side.source) + token * side.source_token_stride +
                     head * side.source_head_stride;
  auto* to = static_cast<uint8_t*>(const_cast<void*>(side.cache.data)) +
             page * side.cache.page_stride + row * side.cache.token_stride +
             head * side.cache.head_stride;
  reinterpret_cast<Unit*>(to)[within] = reinterpret_cast<const Unit*>(from)[within];
}

// One block per token; slots outside the cache are not written.
template <class Unit>
__global__ void __launch_bounds__(kThreads)
    write_cache(const __grid_constant__ CacheWriteParams params) {
  wait_for_earlier_kernels();
  allow_next_kernel();
  const int64_t token = blockIdx.x, slot = params.slot_mapping[token];
  const int64_t page_size = params.key.cache.page_size;
  if (slot < 0 || slot >= page_size * params.key.cache.num_pages) return;
  const int64_t page = slot / page_size, row = slot % page_size;
  const int heads = static_cast<int>(params.key.cache.num_kv_heads);
  const int key_units = static_cast<int>(params.key.cache.head_dim * 2 / sizeof(Unit));
  const int value_units = static_cast<int>(params.value.cache.head_dim * 2 / sizeof(Unit));
  for (int i = threadIdx.x; i < heads * (key_units + value_units); i += kThreads) {
    if (i < heads * key_units)
      copy_unit<Unit>(params.key, token, page, row, key_units, i);
    else
      copy_unit<Unit>(params.value, token, page, row, value_units, i - heads * key_units);
  }
}

bool is_aligned(const CacheWriteSide& side) {
  return (reinterpret_cast<uintptr_t>(side.source) | reinterpret_cast<uintptr_t>(side.cache.data) |
          static_cast<uint64_t>(side.source_token_stride | side.source_head_stride |
                                side.cache.page_stride | side.cache.token_stride |
                                side.cache.head_stride)) %
             16 ==
         0;
}

}  // namespace

void launch_update_cache(const CacheWriteParams& params, cudaStream_t stream) {
  if (params.num_tokens == 0) return;
  const bool aligned = is_aligned(params.key) && is_aligned(params.value);
  launch(aligned ? reinterpret_cast<const void*>(&write_cache<uint4>)
                 : reinterpret_cast<const void*>(&write_cache<uint16_t>),
         {.blocks = params.num_tokens, .threads = kThreads}, params, stream,
         "launching update_cache");
}

}  // namespace pagoda::cuda

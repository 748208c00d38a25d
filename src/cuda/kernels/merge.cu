// Merges two attentions over disjoint keys: one warp per token and head. An empty state's output is
// not read, so it may hold anything.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../../core/state.h"
#include "../device/ptx.cuh"
#include "../launch.h"
#include "../update_params.h"

namespace pagoda::cuda {
namespace {

constexpr int kThreads = 128;

__device__ float load(const float* x) {
  return *x;
}
__device__ float load(const __nv_bfloat16* x) {
  return __bfloat162float(*x);
}
__device__ float load(const __half* x) {
  return __half2float(*x);
}
__device__ void store(float* x, float value) {
  *x = value;
}
__device__ void store(__nv_bfloat16* x, float value) {
  *x = __float2bfloat16_rn(value);
}
__device__ void store(__half* x, float value) {
  *x = __float2half_rn(value);
}

template <class T>
__device__ T* row_of(const MergeSide& side, int64_t token, int64_t head) {
  return reinterpret_cast<T*>(static_cast<uint8_t*>(side.out) + token * side.out_token_stride +
                              head * side.out_head_stride);
}
__device__ float* lse_of(const MergeSide& side, int64_t token, int64_t head) {
  return side.lse + head * side.lse_head_stride + token * side.lse_token_stride;
}

template <class T>
__global__ void __launch_bounds__(kThreads) merge_states(const __grid_constant__ MergeParams params) {
  wait_for_earlier_kernels();
  allow_next_kernel();
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  const int64_t token = index / params.num_heads, head = index % params.num_heads;
  if (token >= params.num_tokens) return;
  const bool has_a = token < params.num_tokens_a;
  const float lse_a = has_a ? *lse_of(params.a, token, head) : minus_infinity<float>();
  const MergeWeights<float> weights = merge_weights(lse_a, *lse_of(params.b, token, head));
  const T* a = row_of<T>(params.a, token, head);
  const T* b = row_of<T>(params.b, token, head);
  T* to = row_of<T>(params.to, token, head);
  for (int i = threadIdx.x % 32; i < params.head_dim_v; i += 32) {
    float sum = 0;
    if (weights.a != 0) sum += weights.a * load(a + i);
    if (weights.b != 0) sum += weights.b * load(b + i);
    store(to + i, sum);
  }
  __syncwarp();  // the lse may be written over one that another lane still reads
  if (params.to.lse && threadIdx.x % 32 == 0) *lse_of(params.to, token, head) = weights.lse;
}

}  // namespace

void launch_merge(const MergeParams& params, Dtype dtype, cudaStream_t stream) {
  const int64_t rows = int64_t{params.num_tokens} * params.num_heads;
  if (rows == 0) return;
  const void* kernel = dtype == PAGODA_F32    ? reinterpret_cast<const void*>(&merge_states<float>)
                       : dtype == PAGODA_BF16 ? reinterpret_cast<const void*>(&merge_states<__nv_bfloat16>)
                                              : reinterpret_cast<const void*>(&merge_states<__half>);
  launch(kernel, {.blocks = (rows * 32 + kThreads - 1) / kThreads, .threads = kThreads}, params,
         stream, "launching merge_states");
}

}  // namespace pagoda::cuda

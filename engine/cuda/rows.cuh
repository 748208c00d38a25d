// Device only, but for launches. What row kernels share: sums over a block, 8 typed elements at a
// time, and launches that begin before the kernel in front has ended.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <pagoda/pagoda.h>

#include <cstdint>

namespace pagoda::engine::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
__device__ T warp_sum(T value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

// Of the lanes before this one.
template <class T>
__device__ T warp_sum_before(T value) {
  const int lane = threadIdx.x % kWarp;
  T sum = value;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const T other = __shfl_up_sync(kAllLanes, sum, step);
    if (lane >= step) sum += other;
  }
  return sum - value;
}

// Of all threads, returned to all of them; in one order, so the same bits every time. `shared` has
// an element a warp, and is free again after the caller's next barrier.
template <class T>
__device__ T block_sum(T value, T* shared) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int num_warps = blockDim.x / kWarp;
  value = warp_sum(value);
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  T sum = 0;
  for (int i = 0; i < num_warps; i++) sum += shared[i];
  return sum;
}

template <class T>
struct alignas(16) Eight {
  T element[8];
};

template <class T>
__device__ Eight<T> load_eight(const T* from) {
  return *reinterpret_cast<const Eight<T>*>(from);
}

template <class T>
__device__ void store_eight(T* to, const float (&values)[8]) {
  Eight<T> packed;
#pragma unroll
  for (int i = 0; i < 8; i++) packed.element[i] = T(values[i]);
  *reinterpret_cast<Eight<T>*>(to) = packed;
}

// Of a kernel that launch_early starts: what the kernel in front wrote is there after the wait.
__device__ inline void wait_for_kernel_in_front() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ inline void let_next_kernel_begin() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// A kernel that may begin while the one in front runs; every thread of it waits for that one.
template <class... Params, class... Arguments>
cudaError_t launch_early(void (*kernel)(Params...), unsigned blocks, unsigned threads,
                         cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute begins_early = {};
  begins_early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  begins_early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.stream = stream;
  config.attrs = &begins_early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// Calls body(T{}) with the element type that dtype names: f16 or bf16.
template <class Body>
void with_type(pagoda_dtype dtype, const Body& body) {
  if (dtype == PAGODA_F16)
    body(__half{});
  else
    body(__nv_bfloat16{});
}

}  // namespace pagoda::engine::cuda

// Device only. What row kernels share: sums over a block, and 8 typed elements at a time.
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

// Calls body(T{}) with the element type that dtype names: f16 or bf16.
template <class Body>
void with_type(pagoda_dtype dtype, const Body& body) {
  if (dtype == PAGODA_F16)
    body(__half{});
  else
    body(__nv_bfloat16{});
}

}  // namespace pagoda::engine::cuda

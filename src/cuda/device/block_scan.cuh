// Device only. Prefix sums over the threads of a block.
#pragma once

namespace pagoda::cuda {

// The sum of `value` over the threads before this one; `total` is the sum over all. For blocks of a
// multiple of 32 threads. scratch: [32] in shared memory
__device__ inline int exclusive_sum(int value, int& total, int* scratch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = value;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += below;
  }
  __syncthreads();  // scratch may still be read by an earlier call
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  int before = 0;
  total = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) {
    if (w < warp) before += scratch[w];
    total += scratch[w];
  }
  return before + sum - value;
}

}  // namespace pagoda::cuda

// Host. The check of every call of the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

#include "../core/error.h"

namespace pagoda::cuda {

inline void check_cuda(cudaError_t code, const char* doing) {
  expect(code == cudaSuccess, PAGODA_DEVICE_ERROR, doing, ": ", cudaGetErrorString(code), " (",
         cudaGetErrorName(code), ")");
}

}  // namespace pagoda::cuda

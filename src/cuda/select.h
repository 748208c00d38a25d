// Host. Which kernels serve a problem, or every reason why none does.
#pragma once

#include <string>
#include <vector>

#include "../backend/backend.h"
#include "kernel_table.h"

namespace pagoda::cuda {

// The kernels that share a plan's steps: requests of few rows go to a decode kernel, the others to
// the prefill kernel.
struct CudaKernel : Kernel {
  const KernelEntry* decode[2] = {};  // of 8 and of 16 rows per item; the second may be null
  const KernelEntry* prefill = nullptr;
};

// One per element type and pair of head dimensions in the table.
std::vector<CudaKernel> available_kernels();

Selection select_kernel(const std::vector<CudaKernel>& kernels, const Problem& problem);

}  // namespace pagoda::cuda

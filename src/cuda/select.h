// Host. Which kernels serve a problem, or every reason why none does.
#pragma once

#include <string>
#include <vector>

#include "../backend/backend.h"
#include "kernel_table.h"

namespace pagoda::cuda {

// The kernels that share a plan's steps: requests of few rows go to a decode kernel, the others to
// the prefill kernel. One without decode kernels has the general kernel for all requests.
struct CudaKernel : Kernel {
  const KernelEntry* decode[2] =
      {};  // of 8 and of 16 rows per item; both or the second may be null
  const KernelEntry* prefill = nullptr;
  // For plans whose steps may have both kinds of requests: the mixed kernel, and the decode kernel
  // that takes what it leaves. Both or neither.
  const KernelEntry* mixed = nullptr;
  const KernelEntry* rest = nullptr;

  bool is_general() const { return decode[0] == nullptr; }
};

// Packed rows of the step's longest request, at most.
int64_t max_rows(const Prepared& prepared);

// Whether the step may have both kinds of requests and there is a mixed kernel for it.
bool uses_mixed(const Prepared& prepared);

// Per element type and pair of head dimensions in the table, first those that are made for a device
// of 9.0, if it is one, then the general one.
std::vector<CudaKernel> available_kernels(bool is_sm90);

Selection select_kernel(const std::vector<CudaKernel>& kernels, const Problem& problem);

}  // namespace pagoda::cuda

// Host. How kernels are started.
#pragma once

#include "attend_params.h"
#include "check_cuda.h"
#include "kernel_table.h"
#include "schedule.h"

namespace pagoda::cuda {

// Once per device and kernel: lets it use its shared memory.
inline void prepare_kernel(const KernelEntry& kernel) {
  check_cuda(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kernel.shared_bytes),
             "raising a kernel's limit of shared memory");
}

// The kernels are persistent: the grid fills the device whatever the step holds.
// Params: AttendParams or PrefillParams, as the kernel's phase has it.
template <class Params>
void launch_attend(const KernelEntry& kernel, const Params& params, int num_sms,
                   cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(kernel.blocks_per_sm * num_sms));
  config.blockDim = dim3(static_cast<unsigned>(kernel.threads));
  config.dynamicSmemBytes = static_cast<size_t>(kernel.shared_bytes);
  config.stream = stream;
  cudaLaunchAttribute overlap = {};  // the launch overlaps the end of the kernel before it
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = 1;
  void* arguments[] = {const_cast<Params*>(&params)};
  check_cuda(cudaLaunchKernelExC(&config, kernel.function, arguments),
             "launching an attention kernel");
}

void launch_schedule(const ScheduleParams& params, cudaStream_t stream);

}  // namespace pagoda::cuda

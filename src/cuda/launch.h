// Host. How kernels are started.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "attend_params.h"
#include "check_cuda.h"
#include "kernel_table.h"
#include "schedule.h"
#include "update_params.h"

namespace pagoda::cuda {

struct LaunchShape {
  int64_t blocks = 0;
  int32_t threads = 0;
  int32_t shared_bytes = 0;
};

// Whether the current device can bring a kernel up while the one before it ends: from 9.0 on.
inline bool overlaps_launches() {
  static const std::vector<bool> overlaps = [] {
    int count = 0;
    check_cuda(cudaGetDeviceCount(&count), "counting devices");
    std::vector<bool> list;
    for (int device = 0; device < count; ++device) {
      int major = 0;
      check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                 "asking for the compute capability");
      list.push_back(major >= 9);
    }
    return list;
  }();
  int device = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  return overlaps[static_cast<size_t>(device)];
}

// Starts a kernel whose one parameter is `params`. Every kernel here begins by waiting for the one
// before it, so its launch may overlap that one's end.
template <class Params>
void launch(const void* kernel, const LaunchShape& shape, const Params& params, cudaStream_t stream,
            const char* doing) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = stream;
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = overlaps_launches() ? 1 : 0;
  void* arguments[] = {const_cast<Params*>(&params)};
  check_cuda(cudaLaunchKernelExC(&config, kernel, arguments), doing);
}

// Once per device and kernel: lets it use its shared memory.
inline void prepare_kernel(const KernelEntry& kernel) {
  check_cuda(cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  kernel.shared_bytes),
             "raising a kernel's limit of shared memory");
}

// The attention kernels are persistent: the grid fills the device whatever the step holds.
// Params: AttendParams or PrefillParams, as the kernel's phase has it.
template <class Params>
void launch_attend(const KernelEntry& kernel, const Params& params, int num_sms,
                   cudaStream_t stream) {
  launch(kernel.function,
         {.blocks = kernel.blocks_per_sm * num_sms,
          .threads = kernel.threads,
          .shared_bytes = kernel.shared_bytes},
         params, stream, "launching an attention kernel");
}

inline int decode_blocks(const KernelEntry& kernel, int num_sms) {
  return kernel.blocks_per_sm * num_sms;
}

// That the schedule may count on; 0: the kernel does not know of halves.
inline int prefill_blocks(const KernelEntry& kernel, int num_sms) {
  return kernel.config.phase == Phase::prefill ? kernel.blocks_per_sm * num_sms : 0;
}

void launch_schedule(const ScheduleParams& params, cudaStream_t stream);
void launch_update_cache(const CacheWriteParams& params, cudaStream_t stream);
void launch_merge(const MergeParams& params, Dtype dtype, cudaStream_t stream);

}  // namespace pagoda::cuda

// Host. The compiled kernels: the rows of kernel_config.h with what a launch needs.
#pragma once

#include <vector>

#include "kernel_config.h"

namespace pagoda::cuda {

struct KernelEntry {
  KernelConfig config;
  const void*
      function;  // __global__ void(AttendParams), but void(PrefillParams) for prefill and mixed
  int32_t threads;
  int32_t shared_bytes;
  int32_t blocks_per_sm;
};

// The rows that one compilation of instantiate.cu, and of instantiate_general.cu, holds.
template <int kShard>
std::vector<KernelEntry> shard_entries();
template <int kShard>
std::vector<KernelEntry> general_entries();

// All of them, in the order of the table.
const std::vector<KernelEntry>& kernel_entries();

// Null if this build has no such row.
const KernelEntry* find_kernel(const KernelConfig& config);

}  // namespace pagoda::cuda

// Where the general attention kernels are instantiated: for every chip from 8.0 on. Compiled
// PAGODA_NUM_SHARDS times, as instantiate.cu.
#include <type_traits>
#include <utility>

#include "kernel_table.h"
#include "kernels/attend_general.cuh"

namespace pagoda::cuda {
namespace {

template <int kRow>
constexpr bool is_here() {
#ifdef PAGODA_ONLY_HEAD_DIM
  if (kKernelConfigs[kRow].head_dim != PAGODA_ONLY_HEAD_DIM) return false;
#endif
  return kKernelConfigs[kRow].phase == Phase::general && kRow % PAGODA_NUM_SHARDS == PAGODA_SHARD;
}

template <int kRow>
void add_row(std::vector<KernelEntry>& entries) {
  if constexpr (is_here<kRow>()) {
    constexpr KernelConfig row = kKernelConfigs[kRow];
    using T = std::conditional_t<row.dtype == PAGODA_BF16, __nv_bfloat16, __half>;
    using Tr = general::Traits<T, row.head_dim, row.head_dim_v>;
    entries.push_back({.config = row,
                       .function = reinterpret_cast<const void*>(&general::attend_general<Tr>),
                       .threads = Tr::kThreads,
                       .shared_bytes = sizeof(typename Tr::Shared),
                       .blocks_per_sm = Tr::kBlocksPerSm});
  }
}

template <int... kRows>
std::vector<KernelEntry> entries_of(std::integer_sequence<int, kRows...>) {
  std::vector<KernelEntry> entries;
  (add_row<kRows>(entries), ...);
  return entries;
}

}  // namespace

template <>
std::vector<KernelEntry> general_entries<PAGODA_SHARD>() {
  return entries_of(std::make_integer_sequence<int, kNumKernelConfigs>());
}

}  // namespace pagoda::cuda

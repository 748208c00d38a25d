// Where the attention kernels of 9.0 are instantiated. Compiled PAGODA_NUM_SHARDS times, each time
// with another PAGODA_SHARD, and every row of the table belongs to one of them.
#include <type_traits>
#include <utility>

#include "kernel_table.h"
#include "kernels/attend_decode_sm90.cuh"
#include "kernels/attend_mixed_sm90.cuh"
#include "kernels/attend_prefill_sm90.cuh"

namespace pagoda::cuda {
namespace {

template <int kRow>
constexpr bool is_here() {
#ifdef PAGODA_ONLY_HEAD_DIM
  if (kKernelConfigs[kRow].head_dim != PAGODA_ONLY_HEAD_DIM) return false;
#endif
  return kKernelConfigs[kRow].phase != Phase::general && kRow % PAGODA_NUM_SHARDS == PAGODA_SHARD;
}

template <class Tr>
KernelEntry decode_entry(const KernelConfig& row) {
  return {.config = row,
          .function = reinterpret_cast<const void*>(&decode::attend_decode<Tr>),
          .threads = Tr::kThreads,
          .shared_bytes = sizeof(typename Tr::Shared),
          .blocks_per_sm = Tr::kBlocksPerSm};
}

template <class Tr>
KernelEntry prefill_entry(const KernelConfig& row) {
  return {.config = row,
          .function = reinterpret_cast<const void*>(&prefill::attend_prefill<Tr>),
          .threads = Tr::kThreads,
          .shared_bytes = sizeof(typename Tr::Shared),
          .blocks_per_sm = 1};
}

template <class Tr>
KernelEntry mixed_entry(const KernelConfig& row) {
  return {.config = row,
          .function = reinterpret_cast<const void*>(&mixed::attend_mixed<Tr>),
          .threads = Tr::kThreads,
          .shared_bytes = sizeof(typename Tr::Shared),
          .blocks_per_sm = 1};
}

// nvcc does not take a struct as a template argument of a __global__ function, so the traits of a
// kernel are a type made from plain numbers.
template <int kRow>
void add_row(std::vector<KernelEntry>& entries) {
  if constexpr (is_here<kRow>()) {
    constexpr KernelConfig row = kKernelConfigs[kRow];
    using T = std::conditional_t<row.dtype == PAGODA_BF16, __nv_bfloat16, __half>;
    if constexpr (row.phase == Phase::decode)
      entries.push_back(decode_entry<decode::Traits<T, row.head_dim, row.head_dim_v, row.rows / 8,
                                                    row.key, row.value>>(row));
    else if constexpr (row.phase == Phase::rest)
      entries.push_back(decode_entry<decode::Traits<T, row.head_dim, row.head_dim_v, row.rows / 8,
                                                    Code::same, Code::same, true>>(row));
    else if constexpr (row.phase == Phase::mixed)
      entries.push_back(mixed_entry<mixed::Traits<T, row.head_dim, row.head_dim_v>>(row));
    else
      entries.push_back(prefill_entry<prefill::Traits<T, row.head_dim, row.head_dim_v>>(row));
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
std::vector<KernelEntry> shard_entries<PAGODA_SHARD>() {
  return entries_of(std::make_integer_sequence<int, kNumKernelConfigs>());
}

}  // namespace pagoda::cuda

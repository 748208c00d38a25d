#include "kernel_table.h"

#include <algorithm>
#include <utility>

namespace pagoda::cuda {
namespace {

int row_of(const KernelEntry& entry) {
  return static_cast<int>(
      std::find(kKernelConfigs, kKernelConfigs + kNumKernelConfigs, entry.config) - kKernelConfigs);
}

template <int... kShards>
std::vector<KernelEntry> all_entries(std::integer_sequence<int, kShards...>) {
  std::vector<KernelEntry> entries;
  const auto append = [&](const std::vector<KernelEntry>& shard) {
    entries.insert(entries.end(), shard.begin(), shard.end());
  };
  (append(shard_entries<kShards>()), ...);
  (append(general_entries<kShards>()), ...);
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return row_of(a) < row_of(b); });
  return entries;
}

}  // namespace

const std::vector<KernelEntry>& kernel_entries() {
  static const std::vector<KernelEntry> entries =
      all_entries(std::make_integer_sequence<int, PAGODA_NUM_SHARDS>());
  return entries;
}

const KernelEntry* find_kernel(const KernelConfig& config) {
  for (const KernelEntry& entry : kernel_entries())
    if (entry.config == config) return &entry;
  return nullptr;
}

}  // namespace pagoda::cuda

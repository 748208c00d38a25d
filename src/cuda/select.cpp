#include "select.h"

#include <set>

namespace pagoda::cuda {
namespace {

std::string name_of_row(const KernelConfig& row) {
  std::string name =
      std::string("sm90.") + pagoda::name_of(row.dtype) + ".d" + std::to_string(row.head_dim);
  return row.head_dim == row.head_dim_v ? name : name + "x" + std::to_string(row.head_dim_v);
}

std::string list_of_head_dims() {
  std::set<std::pair<int, int>> dims;
  for (const KernelEntry& entry : kernel_entries())
    dims.emplace(entry.config.head_dim, entry.config.head_dim_v);
  std::string list;
  for (const auto& [head_dim, head_dim_v] : dims)
    list += (list.empty() ? "" : ", ") + std::to_string(head_dim) +
            (head_dim == head_dim_v ? "" : "/" + std::to_string(head_dim_v));
  return list;
}

bool serves(const CudaKernel& kernel, const Problem& problem) {
  const KernelConfig& row = kernel.prefill->config;
  return row.dtype == problem.dtype && row.head_dim == problem.head_dim &&
         row.head_dim_v == problem.head_dim_v;
}

}  // namespace

std::vector<CudaKernel> available_kernels() {
  std::vector<CudaKernel> kernels;
  for (const KernelEntry& entry : kernel_entries()) {
    if (entry.config.phase != Phase::prefill) continue;
    CudaKernel kernel;
    kernel.name = name_of_row(entry.config);
    kernel.prefill = &entry;
    for (int i = 0; i < 2; ++i) {
      KernelConfig decode = entry.config;
      decode.phase = Phase::decode, decode.rows = 8 << i;
      kernel.decode[i] = find_kernel(decode);
    }
    kernels.push_back(kernel);
  }
  return kernels;
}

Selection select_kernel(const std::vector<CudaKernel>& kernels, const Problem& problem) {
  Selection selection;
  std::vector<Reason>& reasons = selection.reasons;
  if (problem.kv_format != PAGODA_KV_SAME)
    reasons.emplace_back(
        Aspect::kv_format,
        "spec.kv_format names a quantised cache; the cuda backend has only KV_SAME");
  if (!problem.shard.is_whole())
    reasons.emplace_back(Aspect::shard,
                         "spec.shard deals keys out to ranks; the cuda backend keeps all of them");
  if (problem.query_format != PAGODA_QUERY_SAME)
    reasons.emplace_back(
        Aspect::query_format,
        "spec.query_format names quantised queries; the cuda backend has only QUERY_SAME");
  if (problem.has_block_mask)
    reasons.emplace_back(Aspect::block_mask,
                         "spec.has_block_mask is 1; the cuda backend does not read block masks");
  if (problem.score_expr != nullptr)
    reasons.emplace_back(Aspect::score,
                         "spec.score_expr is set; the cuda backend has no score expressions");
  if (problem.dtype != PAGODA_BF16 && problem.dtype != PAGODA_F16)
    reasons.emplace_back(Aspect::dtype, std::string("spec.dtype is ") +
                                            pagoda::name_of(problem.dtype) +
                                            "; the cuda backend has kernels for bf16 and f16");
  if (problem.tuning.cascade > 0)
    reasons.emplace_back(
        Aspect::combination,
        "tuning.cascade is 1; the cuda backend attends every request on its own, leave it 0");
  const CudaKernel* found = nullptr;
  for (const CudaKernel& kernel : kernels)
    if (found == nullptr && serves(kernel, problem)) found = &kernel;
  if (found == nullptr && reasons.empty())
    reasons.emplace_back(Aspect::head_dim, "spec.head_dim is " + std::to_string(problem.head_dim) +
                                               " and spec.head_dim_v is " +
                                               std::to_string(problem.head_dim_v) +
                                               "; the cuda backend has " + list_of_head_dims());
  if (found != nullptr && !problem.tuning.kernel.empty() && problem.tuning.kernel != found->name)
    reasons.emplace_back(Aspect::kernel, "tuning.kernel is \"" + problem.tuning.kernel +
                                             "\"; the cuda backend serves this problem with " +
                                             found->name);
  if (reasons.empty()) selection.kernel = found;
  return selection;
}

}  // namespace pagoda::cuda

#include "select.h"

#include <set>

#include "../core/kv_format.h"
#include "schedule.h"

namespace pagoda::cuda {
namespace {

std::string name_of_row(const char* chip, const KernelConfig& row) {
  std::string name =
      std::string(chip) + "." + pagoda::name_of(row.dtype) + ".d" + std::to_string(row.head_dim);
  return row.head_dim == row.head_dim_v ? name : name + "x" + std::to_string(row.head_dim_v);
}

std::string name_of_codes(Code key, Code value) {
  if (key == Code::e4m3) return ".e4m3";
  return value == Code::int8 ? ".int8" : ".int8_keys";
}

const KernelEntry* find_like(KernelConfig config, Phase phase, int32_t rows) {
  config.phase = phase, config.rows = rows;
  return find_kernel(config);
}

// 16-bit caches: decode and prefill by kernels of their own.
CudaKernel plain_kernel(const KernelEntry& prefill) {
  CudaKernel kernel;
  kernel.name = name_of_row("sm90", prefill.config);
  kernel.prefill = &prefill;
  kernel.mixed = find_like(prefill.config, Phase::mixed, prefill.config.rows);
  kernel.rest = find_like(prefill.config, Phase::rest, 8);
  for (int i = 0; i < 2; ++i) kernel.decode[i] = find_like(prefill.config, Phase::decode, 8 << i);
  return kernel;
}

// Quantised caches: the decode kernel reads codes, longer requests go to the general kernel.
CudaKernel kernel_of_codes(const KernelEntry& decode) {
  KernelConfig general = decode.config;
  general.key = general.value = Code::same;
  CudaKernel kernel;
  kernel.name =
      name_of_row("sm90", decode.config) + name_of_codes(decode.config.key, decode.config.value);
  kernel.decode[0] = &decode;
  kernel.prefill =
      find_like(general, Phase::general, general_rows(general.head_dim, general.head_dim_v));
  return kernel;
}

CudaKernel general_kernel(const KernelEntry& general) {
  CudaKernel kernel;
  kernel.name = name_of_row("sm80", general.config);
  kernel.prefill = &general;
  return kernel;
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
  if (row.dtype != problem.dtype || row.head_dim != problem.head_dim ||
      row.head_dim_v != problem.head_dim_v)
    return false;
  if (kernel.is_general()) return true;
  const KvFormat format = kv_format_of(problem.kv_format);
  const KernelConfig& decode = kernel.decode[0]->config;
  return !problem.has_block_mask && decode.key == format.key.code &&
         decode.value == format.value.code;
}

// What no kernel does.
std::vector<Reason> common_reasons(const Problem& problem) {
  std::vector<Reason> reasons;
  if (problem.kv_format != PAGODA_KV_SAME && !problem.has_cache())
    reasons.emplace_back(Aspect::kv_format, "kv_format " + std::to_string(problem.kv_format) +
                                                " is of a cache, but the plan has none (page_size "
                                                "0)");
  if (!problem.shard.is_whole())
    reasons.emplace_back(Aspect::shard,
                         "spec.shard deals keys out to ranks; the cuda backend keeps all of them");
  if (problem.query_format != PAGODA_QUERY_SAME)
    reasons.emplace_back(
        Aspect::query_format,
        "spec.query_format names quantised queries; the cuda backend has only QUERY_SAME");
  if (problem.score_expr != nullptr)
    reasons.emplace_back(Aspect::score,
                         "spec.score_expr is set; the cuda backend has no score expressions");
  if (problem.dtype != PAGODA_BF16 && problem.dtype != PAGODA_F16)
    reasons.emplace_back(Aspect::dtype, std::string("spec.dtype is ") +
                                            pagoda::name_of(problem.dtype) +
                                            "; the cuda backend has kernels for bf16 and f16");
  return reasons;
}

}  // namespace

int64_t max_rows(const Prepared& prepared) {
  return int64_t{prepared.batch.max_query_len} * prepared.problem.group();
}

bool uses_mixed(const Prepared& prepared) {
  return static_cast<const CudaKernel&>(prepared.kernel).mixed != nullptr &&
         max_rows(prepared) > kMaxDecodeRows;
}

std::vector<CudaKernel> available_kernels(bool is_sm90) {
  std::vector<CudaKernel> kernels;
  const auto add = [&](Phase phase, bool codes, CudaKernel (*make)(const KernelEntry&)) {
    for (const KernelEntry& entry : kernel_entries())
      if (entry.config.phase == phase && (entry.config.key != Code::same) == codes)
        kernels.push_back(make(entry));
  };
  if (is_sm90) {
    add(Phase::prefill, false, plain_kernel);
    add(Phase::decode, true, kernel_of_codes);
  }
  add(Phase::general, false, general_kernel);
  return kernels;
}

Selection select_kernel(const std::vector<CudaKernel>& kernels, const Problem& problem) {
  Selection selection;
  std::vector<Reason>& reasons = selection.reasons;
  reasons = common_reasons(problem);
  const std::string& wanted = problem.tuning.kernel;
  const CudaKernel* found = nullptr;
  std::string names;
  for (const CudaKernel& kernel : kernels) {
    if (!serves(kernel, problem)) continue;
    names += (names.empty() ? "" : ", ") + kernel.name;
    if (found == nullptr && (wanted.empty() || wanted == kernel.name)) found = &kernel;
  }
  if (names.empty() && reasons.empty())
    reasons.emplace_back(Aspect::head_dim, "spec.head_dim is " + std::to_string(problem.head_dim) +
                                               " and spec.head_dim_v is " +
                                               std::to_string(problem.head_dim_v) +
                                               "; the cuda backend has " + list_of_head_dims());
  if (found == nullptr && !names.empty())
    reasons.emplace_back(
        Aspect::kernel,
        "tuning.kernel is \"" + wanted + "\"; the cuda backend serves this problem with " + names);
  if (reasons.empty()) selection.kernel = found;
  return selection;
}

}  // namespace pagoda::cuda

#include "select.h"

#include "../core/error.h"
#include "features.h"

namespace pagoda::cpu {
namespace {

constexpr const char* kPrefix = "cpu.";

struct IsaEntry {
  const char* name;
  const Kernels* functions;
  bool present;
  const char* needs;
};

// All that this build contains, best first.
std::vector<IsaEntry> all_isas() {
  std::vector<IsaEntry> entries;
#ifdef PAGODA_CPU_X86
  const Features features = detect_features();
  entries.push_back({"avx512", &avx512::kKernels, features.avx512, "AVX-512 F, BW, DQ and VL"});
  entries.push_back({"avx2", &avx2::kKernels, features.avx2, "AVX2, FMA and F16C"});
#endif
  entries.push_back({"scalar", &scalar::kKernels, true, "nothing"});
  return entries;
}

}  // namespace

std::vector<CpuKernel> available_kernels(const std::string& isa) {
  std::vector<CpuKernel> kernels;
  std::string known;
  for (const IsaEntry& entry : all_isas()) {
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
    if (!isa.empty() && isa != entry.name) continue;
    expect(entry.present || isa.empty(), PAGODA_UNSUPPORTED, "options.isa is \"", isa,
           "\", but this machine lacks ", entry.needs, "; leave it NULL for the best one present");
    if (entry.present)
      kernels.push_back({{std::string(kPrefix) + entry.name}, entry.name, entry.functions});
  }
  expect(!kernels.empty(), PAGODA_INVALID_ARGUMENT, "options.isa is \"", isa,
         "\"; the cpu backend of this build has ", known);
  return kernels;
}

std::string names_of(const std::vector<CpuKernel>& kernels, const char* prefix) {
  std::string names;
  for (const CpuKernel& kernel : kernels)
    names += (names.empty() ? "" : ", ") + std::string(prefix) + kernel.isa;
  return names;
}

Selection select_kernel(const std::vector<CpuKernel>& kernels, const Problem& problem) {
  Selection selection;
  if (problem.kv_format != PAGODA_KV_SAME && !problem.has_cache())
    selection.reasons.emplace_back(Aspect::kv_format,
                                   "kv_format " + std::to_string(problem.kv_format) +
                                       " is of a cache, but the plan has none (page_size 0)");
  const Kernel* found = nullptr;
  for (const CpuKernel& kernel : kernels)
    if (found == nullptr && (problem.tuning.kernel.empty() || problem.tuning.kernel == kernel.name))
      found = &kernel;
  if (found == nullptr)
    selection.reasons.emplace_back(Aspect::kernel, "tuning.kernel is \"" + problem.tuning.kernel +
                                                       "\"; the cpu backend of this context has " +
                                                       names_of(kernels, kPrefix));
  if (selection.reasons.empty()) selection.kernel = found;
  return selection;
}

}  // namespace pagoda::cpu

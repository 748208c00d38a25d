#include "select.h"

#include "../core/error.h"
#include "features.h"

namespace pagoda::cpu {
namespace {

constexpr const char* kPrefix = "cpu.";

constexpr const char* kTiles = "amx";
constexpr const char* kBesideTiles = "avx512";

struct IsaEntry {
  const char* name;
  const Kernels* functions;
  bool present;
  const char* needs;
  bool with_tiles = false;
};

#ifdef PAGODA_CPU_X86
// Attention with tiles; every machine that has them has AVX-512 for the rest.
const Kernels& kernels_with_tiles() {
  static const Kernels kernels = [] {
    const TileKernels& tiles = amx::kTileKernels;
    Kernels it = avx512::kKernels;
    it.padded_dim = tiles.padded_dim;
    it.attend = tiles.attend;
    it.merge_states = tiles.merge_states;
    it.own_bytes = tiles.own_bytes;
    it.take_queries = tiles.take_queries;
    it.narrow_group = tiles.narrow_group;
    it.row_group = kRowPadding;
    it.split_keys = 16 * kTileKeys;
    it.max_rows = 1024;
    return it;
  }();
  return kernels;
}
#endif

// All that this build contains, best first.
std::vector<IsaEntry> all_isas() {
  std::vector<IsaEntry> entries;
#ifdef PAGODA_CPU_X86
  const Features features = detect_features();
  entries.push_back({kTiles, &kernels_with_tiles(), features.amx,
                     "AMX with products of bf16, or the system's leave to use its tiles", true});
  entries.push_back({"avx512", &avx512::kKernels, features.avx512, "AVX-512 F, BW, DQ and VL"});
  entries.push_back({"avx2", &avx2::kKernels, features.avx2, "AVX2, FMA and F16C"});
#endif
#ifdef PAGODA_CPU_ARM64
  entries.push_back({"neon", &neon::kKernels, true, "nothing"});
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
    const bool beside = isa == kTiles && std::string(entry.name) == kBesideTiles;
    if (!isa.empty() && isa != entry.name && !beside) continue;
    expect(entry.present || isa.empty(), PAGODA_UNSUPPORTED, "options.isa is \"", isa,
           "\", but this machine lacks ", entry.needs, "; leave it NULL for the best one present");
    if (entry.present)
      kernels.push_back(
          {{std::string(kPrefix) + entry.name}, entry.name, entry.functions, entry.with_tiles});
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

std::string reason_against_tiles(const Problem& problem) {
  if (problem.dtype != PAGODA_BF16)
    return "tiles multiply bf16, and spec.dtype is " +
           std::string(problem.dtype == PAGODA_F16 ? "f16" : "f32");
  return "";
}

Selection select_kernel(const std::vector<CpuKernel>& kernels, const Problem& problem) {
  Selection selection;
  if (problem.kv_format != PAGODA_KV_SAME && !problem.has_cache())
    selection.reasons.emplace_back(Aspect::kv_format,
                                   "kv_format " + std::to_string(problem.kv_format) +
                                       " is of a cache, but the plan has none (page_size 0)");
  const Kernel* found = nullptr;
  const std::string& wanted = problem.tuning.kernel;
  bool is_known = false;
  for (const CpuKernel& kernel : kernels) {
    if (!wanted.empty() && wanted != kernel.name) continue;
    is_known = true;
    const std::string against = kernel.with_tiles ? reason_against_tiles(problem) : "";
    if (against.empty() && found == nullptr) found = &kernel;
    if (!against.empty() && wanted.empty()) selection.note = "not " + kernel.name + ": " + against;
    if (!against.empty() && !wanted.empty())
      selection.reasons.emplace_back(
          Aspect::kernel, "tuning.kernel is \"" + wanted + "\"; " + against + "; leave it NULL");
  }
  if (!is_known)
    selection.reasons.emplace_back(Aspect::kernel, "tuning.kernel is \"" + problem.tuning.kernel +
                                                       "\"; the cpu backend of this context has " +
                                                       names_of(kernels, kPrefix));
  if (selection.reasons.empty()) selection.kernel = found;
  return selection;
}

}  // namespace pagoda::cpu

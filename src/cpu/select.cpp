#include "select.h"

#include "../core/error.h"
#include "../core/kv_format.h"
#include "features.h"

namespace pagoda::cpu {
namespace {

constexpr const char* kPrefix = "cpu.";

struct IsaEntry {
  const char* name;
  const Kernels* functions;
  bool present;
  const char* needs;
  Element tiles = Element::f32;  // of CpuKernel
};

#ifdef PAGODA_CPU_X86
// Attention with tiles; every machine that has them has AVX-512 for the rest.
Kernels with_tiles(const TileKernels& tiles) {
  Kernels it = avx512::kKernels;
  it.padded_dim = tiles.padded_dim;
  it.attend = tiles.attend;
  it.scaled_values_unit = tiles.scaled_values_unit;
  it.merge_states = tiles.merge_states;
  it.own_bytes = tiles.own_bytes;
  it.take_queries = tiles.take_queries;
  it.narrow_group = tiles.narrow_group;
  it.takes_score_steps = true;
  it.may_descend = true;
  it.row_group = kRowPadding;
  it.split_keys = 16 * kTileKeys;
  it.max_rows = 1024;
  return it;
}
#endif

// Whether an instruction set takes the problems that another one, asked for by name, leaves.
bool stands_beside(const std::string& isa, const std::string& wanted) {
  if (isa == "avx512") return wanted == "amx" || wanted == "amx_fp16";
  return isa == "amx" && wanted == "amx_fp16";
}

// All that this build contains, best first.
std::vector<IsaEntry> all_isas() {
  std::vector<IsaEntry> entries;
#ifdef PAGODA_CPU_X86
  const Features features = detect_features();
  static const Kernels with_f16 = with_tiles(amx_fp16::kTileKernels);
  static const Kernels with_bf16 = with_tiles(amx::kTileKernels);
  entries.push_back({"amx_fp16", &with_f16, features.amx_fp16,
                     "AMX with products of f16, or the system's leave to use its tiles",
                     Element::f16});
  entries.push_back({"amx", &with_bf16, features.amx,
                     "AMX with products of bf16, or the system's leave to use its tiles",
                     Element::bf16});
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
    if (!isa.empty() && isa != entry.name && !stands_beside(entry.name, isa)) continue;
    expect(entry.present || isa.empty(), PAGODA_UNSUPPORTED, "options.isa is \"", isa,
           "\", but this machine lacks ", entry.needs, "; leave it NULL for the best one present");
    if (entry.present)
      kernels.push_back(
          {{std::string(kPrefix) + entry.name}, entry.name, entry.functions, entry.tiles});
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

std::string reason_against_tiles(Element tiles, const Problem& problem) {
  const std::string dtype = problem.dtype == PAGODA_F32   ? "f32"
                            : problem.dtype == PAGODA_F16 ? "f16"
                                                          : "bf16";
  if (tiles == Element::f32) return "";
  if (tiles == Element::bf16)
    return problem.dtype == PAGODA_BF16 ? "" : "tiles multiply bf16, and spec.dtype is " + dtype;
  if (problem.dtype == PAGODA_F16) return "";
  if (problem.dtype == PAGODA_F32) return "tiles multiply f16, and spec.dtype is f32";
  const KvFormat format = kv_format_of(problem.kv_format);
  return format.key.code != Code::same && format.value.code != Code::same
             ? ""
             : "tiles multiply f16, and spec.kv_format has keys or values of bf16";
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
    const std::string against = reason_against_tiles(kernel.tiles, problem);
    if (against.empty() && found == nullptr) found = &kernel;
    if (!against.empty() && wanted.empty() && found == nullptr)
      selection.note += (selection.note.empty() ? "not " : "; not ") + kernel.name + ": " + against;
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

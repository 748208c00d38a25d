#include "engine/math/isa/select.h"

#include "engine/error.h"

#ifdef PAGODA_ENGINE_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pagoda::engine {
namespace {

struct Machine {
  bool avx2 = false, avx512 = false, amx = false, neon = false;
};

#ifdef PAGODA_ENGINE_X86
// The system saves tile registers only for processes that have asked.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Machine this_machine() {
  __builtin_cpu_init();
  Machine machine;
  machine.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  machine.avx512 = machine.avx2 && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
  const bool has_tiles = (edx >> 24 & 1) != 0 && (edx >> 25 & 1) != 0;  // AMX-TILE, AMX-INT8
  machine.amx = machine.avx512 && has_tiles && may_use_tiles();
  return machine;
}

ChosenKernels kernels_of(const std::string& isa) {
  if (isa == "amx") return {&avx512::kKernels, &amx::kTileKernels};
  if (isa == "avx512") return {&avx512::kKernels, nullptr};
  if (isa == "avx2") return {&avx2::kKernels, nullptr};
  return {&scalar::kKernels, nullptr};
}
#elif defined(PAGODA_ENGINE_ARM64)
Machine this_machine() {
  return {.neon = true};  // part of every such processor
}

ChosenKernels kernels_of(const std::string& isa) {
  return {isa == "neon" ? &neon::kKernels : &scalar::kKernels, nullptr};
}
#else
Machine this_machine() {
  return {};
}
ChosenKernels kernels_of(const std::string&) {
  return {&scalar::kKernels, nullptr};
}
#endif

}  // namespace

ChosenKernels choose_kernels(const std::string& isa) {
  static const Machine machine = this_machine();
  const char* const best = machine.amx      ? "amx"
                           : machine.avx512 ? "avx512"
                           : machine.avx2   ? "avx2"
                           : machine.neon   ? "neon"
                                            : "scalar";
  if (isa.empty()) return kernels_of(best);
  require(isa == "scalar" || isa == "avx2" || isa == "avx512" || isa == "amx" || isa == "neon",
          ErrorKind::kInvalidArgument, "the instruction set ", isa,
          " is not known; there are scalar, avx2, avx512, amx and neon");
  const bool present = isa == "scalar" || (isa == "avx2" && machine.avx2) ||
                       (isa == "avx512" && machine.avx512) || (isa == "amx" && machine.amx) ||
                       (isa == "neon" && machine.neon);
  require(present, ErrorKind::kUnsupported, "this machine does not have ", isa, "; its best is ",
          best);
  return kernels_of(isa);
}

}  // namespace pagoda::engine

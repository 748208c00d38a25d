#include "features.h"

#ifdef PAGODA_CPU_X86
#include <cpuid.h>

#include <cstdint>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace pagoda::cpu {

#ifdef PAGODA_CPU_X86
namespace {

struct Leaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf cpuid(uint32_t leaf, uint32_t subleaf) {
  Leaf out;
  if (__get_cpuid_count(leaf, subleaf, &out.eax, &out.ebx, &out.ecx, &out.edx) == 0) return {};
  return out;
}

// Which registers the system saves when it switches threads. Only with the OSXSAVE bit of leaf 1.
uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux saves the tiles' data for a process only once it asked for that; threads that start later
// or run already follow. Refused where the kernel is too old or a signal stack is too small.
bool may_use_tiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
#else
  return false;
#endif
}

}  // namespace

Features detect_features() {
  const Leaf one = cpuid(1, 0), seven = cpuid(7, 0);
  const auto bit = [](uint32_t word, int index) { return ((word >> index) & 1u) != 0; };
  const bool has_xgetbv = bit(one.ecx, 27);
  const uint64_t saved = has_xgetbv ? saved_registers() : 0;
  const bool saves_ymm = (saved & 0x06) == 0x06, saves_zmm = (saved & 0xe6) == 0xe6;
  const bool avx2 =
      saves_ymm && bit(one.ecx, 28) && bit(one.ecx, 12) && bit(one.ecx, 29) && bit(seven.ebx, 5);
  const bool avx512 = avx2 && saves_zmm && bit(seven.ebx, 16) && bit(seven.ebx, 17) &&
                      bit(seven.ebx, 30) && bit(seven.ebx, 31);
  const bool saves_tiles = (saved & 0x60000) == 0x60000;
  const Leaf more = cpuid(7, 1);
  const bool converts = bit(more.eax, 5);  // to bf16, as every machine with tiles does
  const bool amx = avx512 && saves_tiles && converts && bit(seven.edx, 24) && bit(seven.edx, 22);
  const bool multiplies_f16 = bit(more.eax, 21) && bit(seven.edx, 23);
  const bool multiplies_int8 = bit(seven.edx, 25);
  const bool tiles = amx && may_use_tiles();
  return {.avx2 = avx2,
          .avx512 = avx512,
          .amx = tiles,
          .amx_fp16 = tiles && multiplies_f16 && multiplies_int8};
}
#else
Features detect_features() {
  return {};
}
#endif

}  // namespace pagoda::cpu

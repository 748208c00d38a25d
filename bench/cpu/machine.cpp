// Compiled for the widest vectors of the machine that builds it: a benchmark is run where it is
// built.
#include "machine.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstring>

namespace pagoda::bench {

typedef uint64_t Words __attribute__((vector_size(64), aligned(8), may_alias));
typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));

uint64_t read_all(const void* data, size_t size) {
  const Words* words = static_cast<const Words*>(data);
  Words sum[4] = {};
  for (size_t i = 0; i + 4 <= size / sizeof(Words); i += 4)
    for (size_t j = 0; j < 4; ++j) sum[j] ^= words[i + j];
  const Words all = (sum[0] ^ sum[1]) ^ (sum[2] ^ sum[3]);
  uint64_t result = 0;
  for (int i = 0; i < 8; ++i) result ^= all[i];
  return result;
}

double multiply_from_cache(const float* a, const float* b, float* c, int depth, int times) {
  for (int t = 0; t < times; ++t) {
    Floats sum[6][4] = {};
    for (int k = 0; k < depth; ++k) {
      const Floats* row = reinterpret_cast<const Floats*>(b + static_cast<ptrdiff_t>(k) * 64);
#pragma GCC unroll 6
      for (int r = 0; r < 6; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[r][v] += a[r * depth + k] * row[v];
    }
    std::memcpy(c, sum, sizeof sum);
    __asm__ volatile("" ::: "memory");
  }
  return 2.0 * 6 * 64 * depth * times;
}

#if defined(__x86_64__) && defined(__linux__)
void ask_for_huge_pages(void* data, size_t size) {
  madvise(data, size, MADV_HUGEPAGE);
}

bool has_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  const bool listed = (edx >> 22 & 1u) != 0 && (edx >> 24 & 1u) != 0;
  return listed && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

double multiply_tiles(int times) {
  constexpr int kTiles = 16, kBytes = 1024;  // of either operand: 32 KiB together
  struct alignas(64) Config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config{};
  config.palette = 1;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = 64, config.rows[i] = 16;
  alignas(64) static thread_local uint16_t memory[2 * kTiles * kBytes / 2];
  uint64_t random = 88172645463325252u;
  for (uint16_t& x : memory) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    x = static_cast<uint16_t>((random & 0x807f) | 0x3f00);
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
  const long stride = 64;
  for (int t = 0; t < times; ++t)
    for (int i = 0; i < kTiles; i += 2) {
      const char* a = reinterpret_cast<const char*>(memory) + i * kBytes;
      const char* b = a + kTiles * kBytes;
      __asm__ volatile(
          "tileloadd (%0,%2,1), %%tmm4\n\ttileloadd (%1,%2,1), %%tmm6\n\t"
          "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttileloadd 1024(%1,%2,1), %%tmm7\n\t"
          "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\ttileloadd 1024(%0,%2,1), %%tmm5\n\t"
          "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3"
          :
          : "r"(a), "r"(b), "r"(stride)
          : "memory");
    }
  __asm__ volatile("tilerelease" : : : "memory");
  return 4.0 * 2 * 16 * 16 * 32 * (kTiles / 2) * times;
}
#else
void ask_for_huge_pages(void*, size_t) {}

bool has_tiles() {
  return false;
}
double multiply_tiles(int) {
  return 0;
}
#endif

}  // namespace pagoda::bench

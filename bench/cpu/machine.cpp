// Compiled for the widest vectors of the machine that builds it: a benchmark is run where it is
// built.
#include "machine.h"

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

}  // namespace pagoda::bench

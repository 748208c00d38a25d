// What this machine can do at best, measured in the same run as the kernels: plain loops that a
// compiler could hardly make faster, so that a share of the peak means something on a shared
// machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagoda::bench {

// Memory for benchmarks, like that of an engine, is asked for in large pages: translating addresses
// is not what is measured.
constexpr size_t kHugePage = size_t{1} << 21;
void ask_for_huge_pages(void* data, size_t size);

// Reads `size` bytes with the widest loads; returns something that depends on all of them.
uint64_t read_all(const void* data, size_t size);

// A float product of 6 rows and 64 columns over `depth`, `times` times, from the first-level cache.
// a: [6, depth], b: [depth, 64], c: [6, 64]. Returns the floating-point operations done.
double multiply_from_cache(const float* a, const float* b, float* c, int depth, int times);

// Whether the machine has AMX tiles for bf16 and the system lets this process use them.
bool has_tiles();

// Products of bf16 tiles, 2 x 2 of them in registers, over tiles of random numbers in the
// first-level cache: what multiplies matrices at best. Returns the floating-point operations done.
double multiply_tiles(int times);

}  // namespace pagoda::bench

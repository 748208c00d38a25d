// What this machine can do at best, measured in the same run as the kernels: plain loops that a
// compiler could hardly make faster, so that a share of the peak means something on a shared
// machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagoda::bench {

// Reads `size` bytes with the widest loads; returns something that depends on all of them.
uint64_t read_all(const void* data, size_t size);

// A float product of 6 rows and 64 columns over `depth`, `times` times, from the first-level cache.
// a: [6, depth], b: [depth, 64], c: [6, 64]. Returns the floating-point operations done.
double multiply_from_cache(const float* a, const float* b, float* c, int depth, int times);

}  // namespace pagoda::bench

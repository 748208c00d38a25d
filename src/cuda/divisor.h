// Host and device. Division of a number below 2^31 by a number that a launch knows: one multiplication
// and a shift (Granlund and Montgomery, "Division by invariant integers using multiplication").
#pragma once

#include <cstdint>

#include "../core/hd.h"

namespace pagoda::cuda {

struct Divisor {
  int32_t value = 1;
  uint32_t factor = 0;
  int32_t shift = 0;

  Divisor() = default;
  explicit Divisor(int32_t value) : value(value) {
    if (value == 1) return;
    int bits = 0;
    while ((int64_t{1} << bits) < value) ++bits;
    const auto divisor = static_cast<uint64_t>(value);
    factor = static_cast<uint32_t>(((uint64_t{1} << (31 + bits)) + divisor - 1) / divisor);
    shift = bits - 1;
  }

#ifdef __CUDACC__
  __device__ int32_t divide(int32_t n) const {
    return value == 1 ? n : static_cast<int32_t>(__umulhi(static_cast<uint32_t>(n), factor) >> shift);
  }
#endif
};

}  // namespace pagoda::cuda

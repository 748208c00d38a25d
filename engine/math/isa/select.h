// Which kernels this machine runs.
#pragma once

#include <string>

#include "engine/math/isa/kernels.h"

namespace pagoda::engine {

struct ChosenKernels {
  const MathKernels* kernels;
  const TileKernels* tiles;  // null without tile registers
};

// isa: "scalar", "avx2", "avx512" (no tiles), "amx" (AVX-512 and tiles), "neon", or empty: the best
// there is. Errors: kUnsupported with what this machine has; kInvalidArgument for another name.
ChosenKernels choose_kernels(const std::string& isa);

}  // namespace pagoda::engine

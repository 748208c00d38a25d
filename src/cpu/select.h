// Which kernels this machine has and which one serves a problem.
#pragma once

#include <string>
#include <vector>

#include "../backend/backend.h"
#include "kernels.h"

namespace pagoda::cpu {

// A kernel of the backend's interface with its functions.
struct CpuKernel : Kernel {
  const char* isa;
  const Kernels* functions;
  // What its tiles multiply: bf16, or f16. It serves some problems only; reason_against_tiles has
  // the others. Without tiles f32.
  Element tiles;
};

// Why a kernel with AMX tiles of bf16 or f16 leaves a problem to another; empty: it does not.
std::string reason_against_tiles(Element tiles, const Problem& problem);

// Best first. `isa` names the only one wanted, or is empty for all that the machine has. With "amx"
// comes "avx512", for the problems that tiles do not serve, and with "amx_fp16" both. Throws
// Failure if the name is unknown or the machine lacks the instructions.
std::vector<CpuKernel> available_kernels(const std::string& isa);

Selection select_kernel(const std::vector<CpuKernel>& kernels, const Problem& problem);

// "avx512, avx2, scalar"
std::string names_of(const std::vector<CpuKernel>& kernels, const char* prefix);

}  // namespace pagoda::cpu

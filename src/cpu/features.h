// What this machine's processor and operating system let a program use.
#pragma once

namespace pagoda::cpu {

struct Features {
  bool avx2 = false;      // AVX2, FMA, F16C
  bool avx512 = false;    // AVX-512 F, BW, DQ, VL and the above
  bool amx = false;       // AMX tiles with products of bf16, allowed to this process, and the above
  bool amx_fp16 = false;  // products of f16 and of int8 as well, and AVX-512 FP16
};

// Asks CPUID for the instructions and XCR0 for the registers that the system saves. A machine may
// list AMX and refuse it: Linux lets a process use the tiles only after it has asked, which the
// first call does.
Features detect_features();

}  // namespace pagoda::cpu

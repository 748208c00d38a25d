// What this machine's processor and operating system let a program use.
#pragma once

namespace pagoda::cpu {

struct Features {
  bool avx2 = false;    // AVX2, FMA, F16C
  bool avx512 = false;  // AVX-512 F, BW, DQ, VL and the above
};

// Asks CPUID for the instructions and XCR0 for the registers that the system saves.
Features detect_features();

}  // namespace pagoda::cpu

// The instruction sets that the CPU backend may have on this kind of machine; a machine may lack
// some of them (Backends::has).
#pragma once

namespace pagoda::conformance {

#ifdef __aarch64__
inline constexpr const char* kIsas[] = {"scalar", "neon"};
#else
inline constexpr const char* kIsas[] = {"scalar", "avx2", "avx512", "amx", "amx_fp16"};
#endif

}  // namespace pagoda::conformance

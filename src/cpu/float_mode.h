// Results must not depend on the rounding mode or the flush-to-zero bits that a host program has
// set on the thread which happens to do the work.
#pragma once

#include <cstdint>

#ifdef PAGODA_CPU_X86
#include <xmmintrin.h>
#endif

namespace pagoda::cpu {

// The register that holds them, and its value for rounding to nearest with subnormals.
#ifdef PAGODA_CPU_X86
constexpr uint64_t kDefaultFloatMode = 0x1f80;  // every exception masked, nothing flushed
inline uint64_t float_mode() {
  return _mm_getcsr();
}
inline void set_float_mode(uint64_t mode) {
  _mm_setcsr(static_cast<unsigned>(mode));
}
#elif defined(PAGODA_CPU_ARM64)
constexpr uint64_t kDefaultFloatMode = 0;
inline uint64_t float_mode() {
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
// "memory" keeps loads and stores on their side of it, and with them what is computed between.
inline void set_float_mode(uint64_t mode) {
  __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
}
#else
constexpr uint64_t kDefaultFloatMode = 0;
inline uint64_t float_mode() {
  return kDefaultFloatMode;
}
inline void set_float_mode(uint64_t) {}
#endif

// Round to nearest with subnormals, while it lives.
class FloatMode {
 public:
  FloatMode() : saved_(float_mode()) { set_float_mode(kDefaultFloatMode); }
  ~FloatMode() { set_float_mode(saved_); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace pagoda::cpu

// Results must not depend on the rounding mode or the flush-to-zero bits that a host program has
// set on the thread which happens to do the work.
#pragma once

#ifdef PAGODA_CPU_X86
#include <xmmintrin.h>
#endif

namespace pagoda::cpu {

// Round to nearest with subnormals, while it lives.
class FloatMode {
 public:
#ifdef PAGODA_CPU_X86
  FloatMode() : saved_(_mm_getcsr()) {
    _mm_setcsr(kDefault);
  }
  ~FloatMode() {
    _mm_setcsr(saved_);
  }
#else
  FloatMode() = default;
#endif
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

#ifdef PAGODA_CPU_X86
 private:
  static constexpr unsigned kDefault = 0x1f80;  // every exception masked, nothing flushed
  unsigned saved_;
#endif
};

}  // namespace pagoda::cpu

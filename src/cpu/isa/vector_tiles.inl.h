// What the units with tiles have beyond vector512.inl.h, each in its own namespace.
#pragma once

#include "vector512.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kWidth = F32::kWidth;

// The same registers as words, and as pairs of 16-bit elements.
struct Words {
  __m512i v;
};

// a * b - c
inline F32 fms(F32 a, F32 b, F32 c) {
  return {_mm512_fmsub_ps(a.v, b.v, c.v)};
}
// a less the multiple of 1/32 below it, which may round to 1/32.
inline F32 beyond_32nds(F32 a) {
  constexpr int kBits = 5 << 4;
  return {_mm512_reduce_ps(a.v, kBits | _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
// The word of a table that belongs to that multiple, floor(32 a) mod 32; any if a is not finite.
// Where floats step by 1/32, their low bits count.
inline F32 word_of_32nds(const float* table, F32 a) {
  const __m512 counted = _mm512_add_round_ps(a.v, _mm512_set1_ps(0x1.8p18f),
                                             _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return {_mm512_permutex2var_ps(_mm512_load_ps(table), _mm512_castps_si512(counted),
                                 _mm512_load_ps(table + 16))};
}
// 1 / a within 2^-14.
inline F32 inverse_near(F32 a) {
  return {_mm512_rcp14_ps(a.v)};
}
// Into the second-level cache. The intrinsic counts as without effect: GCC 12 drops it with loops
// that do nothing else.
[[gnu::always_inline]] inline void prefetch_near(const char* p) {
  __asm__ volatile("prefetcht1 %0" : : "m"(*p));
}

// While it lives, subnormals are 0 in vectors as they are in products of tiles, so that a sum has
// the same bits whichever of them adds it up.
class FlushSubnormals {
 public:
  FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlush); }
  ~FlushSubnormals() { _mm_setcsr(saved_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  static constexpr unsigned kFlush = 0x8040;  // results and operands
  unsigned saved_;
};

}  // namespace pagoda::cpu::PAGODA_ISA

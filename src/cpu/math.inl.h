// Exponential and hyperbolic tangent of vectors. Coefficients are minimax fits on the intervals
// that are named beside them.
#pragma once

namespace pagoda::cpu::PAGODA_ISA {

constexpr float kMinusInfinity = -__builtin_inff();

// e^x, for x up to 87, within 2 ulp. exp(0) is 1 exactly; below -87 the result is 0, which keeps
// subnormal weights out of the products; exp(-inf) is 0 and NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by a polynomial. The first part of ln 2 has so few
// bits that its product with n is exact also where a product and a sum round separately.
inline F32 exp(F32 x) {
  const F32 n = round_to_int(x * broadcast(0x1.715476p+0f));
  F32 r = fnma(n, broadcast(0x1.62e4p-1f), x);
  r = fnma(n, broadcast(0x1.7f7d1cp-20f), r);
  F32 p = broadcast(0x1.6a23cep-10f);
  p = fma(p, r, broadcast(0x1.123a2p-7f));
  p = fma(p, r, broadcast(0x1.5558f2p-5f));
  p = fma(p, r, broadcast(0x1.555492p-3f));
  p = fma(p, r, broadcast(0x1.fffffcp-2f));
  p = fma(p, r, broadcast(1.0f));
  p = fma(p, r, broadcast(1.0f));
  return select(less(x, broadcast(-87.0f)), broadcast(0.0f), scale_by_power(p, n));
}

// The same for x up to 0, in fewer instructions where a machine parts powers of two by itself: 2^n
// with n = x log2 e. The polynomial is within 2^-23, and the rounding of n costs |x| 2^-23 at most:
// where that is much, a weight e^x has little of the sum. exp_below(0) is 1 exactly too.
template <class V>
inline V exp_below(V x) {
  if constexpr (requires { scale_by_floor(x, fraction(x)); }) {
    const V n = x * broadcast(0x1.715476p+0f), f = fraction(n);
    V p = broadcast(0x1.e974fcp-10f);
    p = fma(p, f, broadcast(0x1.277854p-7f));
    p = fma(p, f, broadcast(0x1.c91ce6p-5f));
    p = fma(p, f, broadcast(0x1.ebdb56p-3f));
    p = fma(p, f, broadcast(0x1.62e4bap-1f));
    p = fma(p, f, broadcast(1.0f));
    return select(less(x, broadcast(-87.0f)), broadcast(0.0f), scale_by_floor(p, n));
  } else {
    return exp(x);
  }
}

// tanh x within 6 ulp: x P(x^2) / Q(x^2) on [-9.02, 9.02], and exactly +-1 where that is the
// nearest float. NaN stays NaN, since max and min return their second operand then.
inline F32 tanh(F32 x) {
  const F32 one = broadcast(1.0f), minus_one = broadcast(-1.0f);
  const F32 y = max(broadcast(-9.02f), min(broadcast(9.02f), x));
  const F32 z = y * y;
  F32 p = broadcast(-1.2203493796926074e-11f);
  p = fma(p, z, broadcast(3.058506055405747e-08f));
  p = fma(p, z, broadcast(2.8007474614595236e-05f));
  p = fma(p, z, broadcast(0.003868328510529826f));
  p = fma(p, z, broadcast(0.13679915672687604f));
  p = fma(p, z, one);
  F32 q = broadcast(1.2873677056642968e-06f);
  q = fma(q, z, broadcast(0.0003938632476979248f));
  q = fma(q, z, broadcast(0.027245841583148297f));
  q = fma(q, z, broadcast(0.47013247733287694f));
  q = fma(q, z, one);
  const F32 inside = max(minus_one, min(one, y * p / q));
  return select(less(broadcast(9.01f), x), one,
                select(less(x, broadcast(-9.01f)), minus_one, inside));
}

}  // namespace pagoda::cpu::PAGODA_ISA

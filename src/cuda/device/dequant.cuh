// Device only. Codes of a quantised cache to 16-bit elements, exactly: every int8 and every e4m3 is
// a number of bf16 and of f16. Four codes at a time, in the order that costs no shuffle of bytes:
// the even two and the odd two.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "../../core/kv_format.h"
#include "ptx.cuh"

namespace pagoda::cuda {

template <class Pair>
__device__ inline uint32_t bits_of_pair(Pair pair) {
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <class Pair>
__device__ inline Pair pair_from_bits(uint32_t bits) {
  return *reinterpret_cast<const Pair*>(&bits);
}

template <class T, Code kCode>
struct Widen;

// 0x4300 with seven low bits v is 128 + v; what the sign bit says of the rest, -128 or -256, is
// another number of that form.
template <>
struct Widen<__nv_bfloat16, Code::int8> {
  static __device__ uint32_t two(uint32_t codes) {  // in the low bytes of both halves
    const uint32_t low = and_or(codes, 0x007f007f, 0x43004300);
    const uint32_t sign = and_or(codes, 0x00800080, 0xc300c300);
    return bits_of_pair(__hfma2(pair_from_bits<__nv_bfloat162>(low),
                                pair_from_bits<__nv_bfloat162>(0x3f803f80),
                                pair_from_bits<__nv_bfloat162>(sign)));
  }
  static __device__ void four(uint32_t codes, uint32_t& even, uint32_t& odd) {
    even = two(codes), odd = two(codes >> 8);
  }
};

// 0x6400 with ten low bits v is 1024 + v.
template <>
struct Widen<__half, Code::int8> {
  static __device__ uint32_t two(uint32_t codes) {
    const uint32_t biased = (codes & 0x00ff00ff) ^ 0x64806480;  // 1024 + 128 + code
    return bits_of_pair(
        __hsub2(pair_from_bits<__half2>(biased), pair_from_bits<__half2>(0x64806480)));
  }
  static __device__ void four(uint32_t codes, uint32_t& even, uint32_t& odd) {
    even = two(codes), odd = two(codes >> 8);
  }
};

// Exponent and mantissa move to where the wider type has them, and a product puts right what the
// exponent counts from. The code of NaN would become 480: alone beyond 448, it is made NaN again.
template <>
struct Widen<__nv_bfloat16, Code::e4m3> {
  // codes: signs at the top of both halves; magnitude: the other bits, in place
  static __device__ uint32_t two(uint32_t codes, uint32_t magnitude) {
    const uint32_t nan = __hgt2_mask(pair_from_bits<__nv_bfloat162>(magnitude),
                                     pair_from_bits<__nv_bfloat162>(0x07e007e0));
    const uint32_t bits = and_or(codes, 0x80008000, magnitude) | nan;
    return bits_of_pair(__hfma2(pair_from_bits<__nv_bfloat162>(bits),
                                pair_from_bits<__nv_bfloat162>(0x7b807b80),    // 2^120
                                pair_from_bits<__nv_bfloat162>(0x80008000)));  // -0
  }
  static __device__ void four(uint32_t codes, uint32_t& even, uint32_t& odd) {
    even = two(codes << 8, codes << 4 & 0x07f007f0);
    odd = two(codes, codes >> 4 & 0x07f007f0);
  }
};

template <>
struct Widen<__half, Code::e4m3> {
  static __device__ uint32_t two(uint32_t codes, uint32_t magnitude) {
    const uint32_t nan =
        __hgt2_mask(pair_from_bits<__half2>(magnitude), pair_from_bits<__half2>(0x3f003f00));
    const uint32_t bits = and_or(codes, 0x80008000, magnitude) | nan;
    return bits_of_pair(
        __hmul2(pair_from_bits<__half2>(bits), pair_from_bits<__half2>(0x5c005c00)));  // 2^8
  }
  static __device__ void four(uint32_t codes, uint32_t& even, uint32_t& odd) {
    even = two(codes << 8, codes << 7 & 0x3f803f80);
    odd = two(codes, codes >> 1 & 0x3f803f80);
  }
};

}  // namespace pagoda::cuda

// Vectors of 4 floats for the Advanced SIMD instructions that every 64-bit ARM processor has; the
// bodies below do the rest. It asks for none of the extensions (bf16, half-precision arithmetic,
// dot products), so there is nothing to detect. Lanes count from the lower address, little-endian.
#include <arm_neon.h>

#include "../kernels.h"

namespace pagoda::cpu::neon {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

struct Lanes {
  uint32x4_t bits;  // all ones or all zeros
};

struct F32 {
  static constexpr int kWidth = 4;
  float32x4_t v;
};

// Register block of the matrix products: 24 of the 32 registers hold sums, 4 a row of the other
// side.
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = 4;
// Rows of a tile at most; changes speed, never results.
constexpr int kTileRows = 384;

constexpr bool kEncodesWords = false;     // encode.inl.h
constexpr bool kReducesTogether = false;  // softmax.inl.h

inline uint32x4_t splat(uint32_t bits) {
  return vdupq_n_u32(bits);
}
inline uint32x4_t bits_of(F32 a) {
  return vreinterpretq_u32_f32(a.v);
}
inline F32 float_of(uint32x4_t bits) {
  return {vreinterpretq_f32_u32(bits)};
}

inline Lanes first_lanes(int n) {
  const int32x4_t lane{0, 1, 2, 3};
  return {vcltq_s32(lane, vdupq_n_s32(n))};
}
// Lanes i of which bit i is set.
inline Lanes lanes_of(uint64_t bits) {
  const uint32x4_t own{1, 2, 4, 8};
  return {vtstq_u32(splat(static_cast<uint32_t>(bits)), own)};
}

inline F32 broadcast(float x) {
  return {vdupq_n_f32(x)};
}
inline F32 iota() {
  return {float32x4_t{0, 1, 2, 3}};
}
inline F32 load(const float* p) {
  return {vld1q_f32(p)};
}
inline void store(float* p, F32 a) {
  vst1q_f32(p, a.v);
}
inline F32 operator+(F32 a, F32 b) {
  return {vaddq_f32(a.v, b.v)};
}
inline F32 operator-(F32 a, F32 b) {
  return {vsubq_f32(a.v, b.v)};
}
inline F32 operator*(F32 a, F32 b) {
  return {vmulq_f32(a.v, b.v)};
}
inline F32 operator/(F32 a, F32 b) {
  return {vdivq_f32(a.v, b.v)};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {vfmaq_f32(c.v, a.v, b.v)};
}
// c - a * b
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {vfmsq_f32(c.v, a.v, b.v)};
}
inline F32 select(Lanes lanes, F32 yes, F32 no) {
  return {vbslq_f32(lanes.bits, yes.v, no.v)};
}
inline Lanes equal(F32 a, F32 b) {
  return {vceqq_f32(a.v, b.v)};
}
// False where either is NaN.
inline Lanes less(F32 a, F32 b) {
  return {vcltq_f32(a.v, b.v)};
}
// The second operand where either is NaN, which the instructions for a maximum do not give.
inline F32 max(F32 a, F32 b) {
  return select(less(b, a), a, b);
}
inline F32 min(F32 a, F32 b) {
  return select(less(a, b), a, b);
}
inline F32 sqrt(F32 a) {
  return {vsqrtq_f32(a.v)};
}
inline bool any_nan(F32 a) {
  return vminvq_u32(equal(a, a).bits) == 0;
}
inline F32 round_to_int(F32 a) {
  return {vrndnq_f32(a.v)};
}
// a * 2^n for an integer n in [-126, 127] and a normal result; a NaN in `a` stays one.
inline F32 scale_by_power(F32 a, F32 n) {
  const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n.v), 23);
  return float_of(vaddq_u32(bits_of(a), vreinterpretq_u32_s32(exponent)));
}
// Of numbers.
inline float reduce_max(F32 a) {
  return vmaxvq_f32(a.v);
}
inline float reduce_add(F32 a) {
  return vaddvq_f32(a.v);
}

// Half a register of memory, whatever lies there: at any address, of any type.
inline uint8x8_t load_8_bytes(const char* p) {
  return vld1_u8(reinterpret_cast<const uint8_t*>(p));
}
inline uint8x8_t load_4_bytes(const char* p) {
  uint32_t bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  return vreinterpret_u8_u32(vdup_n_u32(bytes));
}
inline void store_4_bytes(char* p, uint8x8_t a) {
  const uint32_t bytes = vget_lane_u32(vreinterpret_u32_u8(a), 0);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}

// Rows are multiples of 8 elements, so whole vectors are loaded and stored whatever lanes are
// named.
struct AsF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    return float_of(vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p))));
  }
  static void store(char* p, Lanes, F32 a) {
    vst1q_u8(reinterpret_cast<uint8_t*>(p), vreinterpretq_u8_f32(a.v));
  }
};

struct AsF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    return {vcvt_f32_f16(vreinterpret_f16_u8(load_8_bytes(p)))};
  }
  static void store(char* p, Lanes, F32 a) {
    vst1_u8(reinterpret_cast<uint8_t*>(p), vreinterpret_u8_f16(vcvt_f16_f32(a.v)));
  }
};

struct AsBf16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = true;
  static F32 load(const char* p, Lanes) {
    const uint16x4_t narrow = vreinterpret_u16_u8(load_8_bytes(p));
    return float_of(vshlq_n_u32(vmovl_u16(narrow), 16));
  }
  // To the nearest, ties to even; a NaN stays one.
  static void store(char* p, Lanes, F32 a) {
    const uint32x4_t bits = bits_of(a), top = vshrq_n_u32(bits, 16);
    const uint32x4_t bump = vaddq_u32(vandq_u32(top, splat(1)), splat(0x7fff));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, bump), 16);
    const uint32x4_t quiet = vorrq_u32(top, splat(64));
    const uint16x4_t narrow = vmovn_u32(vbslq_u32(equal(a, a).bits, rounded, quiet));
    vst1_u8(reinterpret_cast<uint8_t*>(p), vreinterpret_u8_u16(narrow));
  }
};

struct AsInt8 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(load_4_bytes(p)));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))};
  }
  // Half away from zero, clamped; a NaN becomes 0: all of it is what the conversion does.
  static void store(char* p, Lanes, F32 a) {
    const int16x4_t narrow = vqmovn_s32(vcvtaq_s32_f32(a.v));
    const int8x8_t bytes = vqmovn_s16(vcombine_s16(narrow, narrow));
    store_4_bytes(p, vreinterpret_u8_s8(bytes));
  }
  // The four bytes of each word, each as a vector.
  static void part(F32 words, F32 (&bytes)[4]) {
    const int32x4_t w = vreinterpretq_s32_f32(words.v);
    bytes[0].v = vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(w, 24), 24));
    bytes[1].v = vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(w, 16), 24));
    bytes[2].v = vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(w, 8), 24));
    bytes[3].v = vcvtq_f32_s32(vshrq_n_s32(w, 24));
  }
};

// Numbers are read 2^8 too small (kernels.h). The functions named finite read NaN codes as numbers.
struct AsE4m3 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;

  // The bits of an f16 of lower exponent bias, which may be subnormal.
  static F32 load_finite(const char* p, Lanes) {
    const int16x8_t spread = vshll_n_s8(vreinterpret_s8_u8(load_4_bytes(p)), 7);
    return widened(vget_low_u16(vandq_u16(vreinterpretq_u16_s16(spread), kept())));
  }
  static F32 load(const char* p, Lanes lanes) {
    const uint16x8_t bytes = vmovl_u8(load_4_bytes(p));
    return set_nan(load_finite(p, lanes), vmovl_u16(vget_low_u16(bytes)), 0x7f);
  }
  // Of the first `count` bytes, 8 to 16.
  static bool any_nan(const char* p, int count) {
    return is_nan_among(vcombine_u8(load_8_bytes(p), load_8_bytes(p + count - 8)));
  }
  static bool any_nan(const F32 (&words)[4]) {
    uint8x16_t most = vdupq_n_u8(0);
    for (int i = 0; i < 4; ++i)
      most = vmaxq_u8(most, vandq_u8(vreinterpretq_u8_f32(words[i].v), vdupq_n_u8(0x7f)));
    return is_nan_among(most);
  }
  // The four bytes of each word, each as a vector.
  static void part_finite(F32 words, F32 (&bytes)[4]) {
    const uint16x8_t w = vreinterpretq_u16_f32(words.v);
    part_halves(vshlq_n_u16(w, 8), bytes[0], bytes[2]);
    part_halves(w, bytes[1], bytes[3]);
  }
  static void set_nans(F32 words, F32 (&bytes)[4]) {
    for (int i = 0; i < 4; ++i) bytes[i] = set_nan(bytes[i], bits_of(words), 0x7fu << (8 * i));
  }
  // core/e4m3.h has the same conversion for one element.
  static void store(char* p, Lanes, F32 a) {
    const uint32x4_t bits = bits_of(a);
    const uint32x4_t size = vandq_u32(bits, splat(0x7fffffff));
    const uint32x4_t sign = vandq_u32(vshrq_n_u32(bits, 24), splat(0x80));
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(size, 20), splat(1));
    const uint32x4_t bumped = vaddq_u32(size, vaddq_u32(odd, splat(0x7ffff)));
    const uint32x4_t normal = vsubq_u32(vshrq_n_u32(bumped, 20), splat(120 << 3));
    const F32 aligned = float_of(size) + broadcast(0x1p14f);
    const uint32x4_t subnormal = vsubq_u32(bits_of(aligned), splat(0x46800000));
    const auto replace = [&](uint32x4_t code, uint32_t above, uint32x4_t by) {
      return vbslq_u32(vcgtq_u32(size, splat(above)), by, code);
    };
    uint32x4_t code = replace(subnormal, 0x3c7fffff, normal);
    code = replace(code, 0x43dfffff, splat(0x7e));
    code = replace(code, 0x7f800000, splat(0x7f));
    const uint16x4_t narrow = vmovn_u32(vorrq_u32(code, sign));
    store_4_bytes(p, vmovn_u16(vcombine_u16(narrow, narrow)));
  }

 private:
  // Of a byte at the top of 16 bits, shifted right by one with its sign: all but the sign's copy.
  static uint16x8_t kept() { return vdupq_n_u16(0xbf80); }
  static F32 widened(uint16x4_t half) { return {vcvt_f32_f16(vreinterpret_f16_u16(half))}; }
  static bool is_nan_among(uint8x16_t bytes) {
    return vmaxvq_u8(vandq_u8(bytes, vdupq_n_u8(0x7f))) == 0x7f;
  }
  // NaN where all of these bits are set.
  static F32 set_nan(F32 a, uint32x4_t words, uint32_t bits) {
    const uint32x4_t code = splat(bits);
    return float_of(vorrq_u32(bits_of(a), vceqq_u32(vandq_u32(words, code), code)));
  }
  // The upper bytes of the lower and of the upper 16 bits of each word, by way of f16.
  static void part_halves(uint16x8_t w, F32& lower, F32& upper) {
    const int16x8_t shifted = vshrq_n_s16(vreinterpretq_s16_u16(w), 1);
    const uint16x8_t half = vandq_u16(vreinterpretq_u16_s16(shifted), kept());
    const uint32x4_t pairs = vreinterpretq_u32_u16(half);
    lower = widened(vmovn_u32(pairs));
    upper = widened(vshrn_n_u32(pairs, 16));
  }
};

// Words of pairs of bf16 or of four bytes; as many as lanes are named, two or four.
inline F32 load_words(const char* p, Lanes lanes) {
  if (vgetq_lane_u32(lanes.bits, 2) != 0) return AsF32::load(p, lanes);
  return float_of(vreinterpretq_u32_u8(vcombine_u8(load_8_bytes(p), vdup_n_u8(0))));
}

// The element at the lower address of each pair, and the one at the higher, as floats.
inline F32 lower_of_pair(F32 a) {
  return float_of(vshlq_n_u32(bits_of(a), 16));
}
inline F32 upper_of_pair(F32 a) {
  return float_of(vandq_u32(bits_of(a), splat(0xffff0000)));
}

// The reverse for columns: the even ones in a and the odd ones in b, to one row in (a, b).
inline void join_columns(F32& a, F32& b) {
  const float32x4_t low = vzip1q_f32(a.v, b.v);
  b.v = vzip2q_f32(a.v, b.v);
  a.v = low;
}

inline void prefetch(const char* p) {
  __builtin_prefetch(p);
}

// The lower and the upper halves of both.
inline F32 lower_halves(float32x4_t a, float32x4_t b) {
  return {vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)))};
}
inline F32 upper_halves(float32x4_t a, float32x4_t b) {
  return {vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)))};
}

// r[i] lane j becomes r[j] lane i: 2x2 within pairs of rows, then the halves.
[[gnu::always_inline]] inline void transpose(F32 (&r)[4]) {
  const float32x4_t even_01 = vtrn1q_f32(r[0].v, r[1].v), odd_01 = vtrn2q_f32(r[0].v, r[1].v);
  const float32x4_t even_23 = vtrn1q_f32(r[2].v, r[3].v), odd_23 = vtrn2q_f32(r[2].v, r[3].v);
  r[0] = lower_halves(even_01, even_23);
  r[1] = lower_halves(odd_01, odd_23);
  r[2] = upper_halves(even_01, even_23);
  r[3] = upper_halves(odd_01, odd_23);
}

}  // namespace pagoda::cpu::neon

#define PAGODA_ISA neon
#include "../table.inl.h"

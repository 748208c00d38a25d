// Vectors of 4 floats in plain C++ with the vector types of GCC and Clang, for every machine. What
// a product and a sum round to is two roundings here and one on machines with FMA, so bits differ
// between instruction sets; within one they do not.
#include "../kernels.h"

namespace pagoda::cpu::scalar {

typedef float Float4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));    // what a comparison gives
typedef uint32_t Bits4 __attribute__((vector_size(16)));  // may wrap around

struct Lanes {
  Int4 bits;  // all ones or all zeros
};

struct F32 {
  static constexpr int kWidth = 4;
  Float4 v;
};

// Register block of the matrix products, for machines with at least 16 registers of 4 floats.
constexpr int kBlockRows = 4;
constexpr int kBlockVectors = 2;
// Rows of a tile at most; changes speed, never results.
constexpr int kTileRows = 384;

constexpr bool kEncodesWords = false;     // encode.inl.h
constexpr bool kReducesTogether = false;  // softmax.inl.h

template <class To, class From>
inline To bits_as(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

inline Bits4 choose(Int4 mask, Bits4 yes, Bits4 no) {
  const Bits4 bits = bits_as<Bits4>(mask);
  return (bits & yes) | (~bits & no);
}

inline Lanes first_lanes(int n) {
  const Int4 lane{0, 1, 2, 3};
  return {lane < n};
}
// Lanes i of which bit i is set.
inline Lanes lanes_of(uint64_t bits) {
  const Int4 own{1, 2, 4, 8};
  return {(own & static_cast<int32_t>(bits)) == own};
}

inline F32 broadcast(float x) {
  return {Float4{x, x, x, x}};
}
inline F32 iota() {
  return {Float4{0, 1, 2, 3}};
}
inline F32 load(const float* p) {
  F32 a;
  __builtin_memcpy(&a.v, p, sizeof a.v);
  return a;
}
inline void store(float* p, F32 a) {
  __builtin_memcpy(p, &a.v, sizeof a.v);
}
inline F32 operator+(F32 a, F32 b) {
  return {a.v + b.v};
}
inline F32 operator-(F32 a, F32 b) {
  return {a.v - b.v};
}
inline F32 operator*(F32 a, F32 b) {
  return {a.v * b.v};
}
inline F32 operator/(F32 a, F32 b) {
  return {a.v / b.v};
}
inline F32 fma(F32 a, F32 b, F32 c) {
  return {a.v * b.v + c.v};
}
// c - a * b
inline F32 fnma(F32 a, F32 b, F32 c) {
  return {c.v - a.v * b.v};
}
inline F32 select(Lanes lanes, F32 yes, F32 no) {
  return {bits_as<Float4>(choose(lanes.bits, bits_as<Bits4>(yes.v), bits_as<Bits4>(no.v)))};
}
inline Lanes equal(F32 a, F32 b) {
  return {a.v == b.v};
}
// False where either is NaN.
inline Lanes less(F32 a, F32 b) {
  return {a.v < b.v};
}
// The second operand where either is NaN.
inline F32 max(F32 a, F32 b) {
  return select({a.v > b.v}, a, b);
}
inline F32 min(F32 a, F32 b) {
  return select({a.v < b.v}, a, b);
}
inline F32 sqrt(F32 a) {
  for (int i = 0; i < 4; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
inline bool any_nan(F32 a) {
  const Int4 nan = a.v != a.v;
  return (nan[0] | nan[1] | nan[2] | nan[3]) != 0;
}
// For |a| below 2^22, which is more than an exponent can be: the sum has no bits below the point.
inline F32 round_to_int(F32 a) {
  const F32 shift = broadcast(0x1.8p23f);
  return a + shift - shift;
}
// a * 2^n for an integer n in [-126, 127] and a normal result; a NaN in `a` stays one.
inline F32 scale_by_power(F32 a, F32 n) {
  const Bits4 low_bits = bits_as<Bits4>((n + broadcast(0x1.8p23f)).v);
  return {bits_as<Float4>(bits_as<Bits4>(a.v) + (low_bits << 23))};
}
inline float reduce_max(F32 a) {
  const float x = a.v[0] > a.v[2] ? a.v[0] : a.v[2];
  const float y = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return x > y ? x : y;
}
inline float reduce_add(F32 a) {
  return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
}

// Rows are multiples of 8 elements, so whole vectors are loaded and stored whatever lanes are
// named.
struct AsF32 {
  static constexpr int kBytes = 4;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    F32 a;
    __builtin_memcpy(&a.v, p, sizeof a.v);
    return a;
  }
  static void store(char* p, Lanes, F32 a) { __builtin_memcpy(p, &a.v, sizeof a.v); }
};

inline Bits4 load_4x16(const char* p) {
  uint16_t narrow[4];
  __builtin_memcpy(narrow, p, sizeof narrow);
  return Bits4{narrow[0], narrow[1], narrow[2], narrow[3]};
}
inline void store_4x16(char* p, Bits4 a) {
  const uint16_t narrow[4] = {static_cast<uint16_t>(a[0]), static_cast<uint16_t>(a[1]),
                              static_cast<uint16_t>(a[2]), static_cast<uint16_t>(a[3])};
  __builtin_memcpy(p, narrow, sizeof narrow);
}

// core/dtype.h has the same conversions for one element; a test holds the two together.
struct AsF16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) {
    const Bits4 half = load_4x16(p);
    const Bits4 magnitude = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
    // Exact, and it makes floats of the subnormals of the narrower exponent.
    const F32 scaled = F32{bits_as<Float4>(magnitude)} * broadcast(0x1p112f);
    // Infinities and NaNs keep their mantissa.
    const Bits4 bits =
        choose(magnitude >= (0x7c00u << 13), magnitude | 0x7f800000u, bits_as<Bits4>(scaled.v));
    return {bits_as<Float4>(bits | sign)};
  }
  static void store(char* p, Lanes, F32 a) {
    const Bits4 bits = bits_as<Bits4>(a.v);
    const Bits4 sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    const Bits4 rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    const Bits4 normal = (rounded >> 13) - (112u << 10);
    // Adding 0.5 aligns the last bit of a subnormal with that of a float.
    const F32 shifted = F32{bits_as<Float4>(magnitude)} + broadcast(0.5f);
    const Bits4 subnormal = bits_as<Bits4>(shifted.v) - 0x3f000000u;
    const Bits4 infinity{0x7c00u, 0x7c00u, 0x7c00u, 0x7c00u};
    const Bits4 nan{0x7e00u, 0x7e00u, 0x7e00u, 0x7e00u};
    Bits4 half = choose(magnitude < 0x38800000u, subnormal, normal);
    half = choose(magnitude >= 0x477ff000u, infinity, half);
    half = choose(magnitude > 0x7f800000u, nan, half);
    store_4x16(p, half | sign);
  }
};

struct AsBf16 {
  static constexpr int kBytes = 2;
  static constexpr bool kParted = true;
  static F32 load(const char* p, Lanes) { return {bits_as<Float4>(load_4x16(p) << 16)}; }
  // To the nearest, ties to even; a NaN stays one.
  static void store(char* p, Lanes, F32 a) {
    const Bits4 bits = bits_as<Bits4>(a.v), top = bits >> 16;
    const Bits4 rounded = (bits + 0x7fffu + (top & 1u)) >> 16;
    store_4x16(p, choose((bits & 0x7fffffffu) > 0x7f800000u, top | 64u, rounded));
  }
};

inline Bits4 load_4x8(const char* p) {
  uint8_t narrow[4];
  __builtin_memcpy(narrow, p, sizeof narrow);
  return Bits4{narrow[0], narrow[1], narrow[2], narrow[3]};
}
inline void store_4x8(char* p, Bits4 a) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<char>(a[i]);
}
// Byte i of each word, counted as the bytes lie in memory.
inline Bits4 byte_of(F32 words, int i) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return (bits_as<Bits4>(words.v) >> (8 * i)) & 0xffu;
#else
  return (bits_as<Bits4>(words.v) >> (24 - 8 * i)) & 0xffu;
#endif
}

struct AsInt8 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) { return widen(load_4x8(p)); }
  // Half away from zero, clamped; a NaN becomes 0. Adding the float below 0.5 carries exactly the
  // halves and what is above them to the next integer.
  static void store(char* p, Lanes, F32 a) {
    const F32 number = select({a.v == a.v}, a, broadcast(0.0f));
    const F32 y = min(max(number, broadcast(-128.0f)), broadcast(127.0f));
    const float half = 0x1.fffffep-2f;
    const F32 z = y + select(less(y, broadcast(0.0f)), broadcast(-half), broadcast(half));
    for (int i = 0; i < 4; ++i) p[i] = static_cast<char>(static_cast<int8_t>(z.v[i]));
  }
  // The four bytes of each word, each as a vector.
  static void part(F32 words, F32 (&bytes)[4]) {
    for (int i = 0; i < 4; ++i) bytes[i] = widen(byte_of(words, i));
  }

 private:
  static F32 widen(Bits4 byte) {
    const Int4 number = bits_as<Int4>(byte ^ 0x80u) - 128;
    return {__builtin_convertvector(number, Float4)};
  }
};

// Numbers are read 2^8 too small (kernels.h).
struct AsE4m3 {
  static constexpr int kBytes = 1;
  static constexpr bool kParted = false;
  static F32 load(const char* p, Lanes) { return widen(load_4x8(p)); }
  static F32 load_finite(const char* p, Lanes lanes) { return load(p, lanes); }
  static bool any_nan(const char*, int) { return false; }  // load sees to them
  static bool any_nan(const F32 (&)[4]) { return false; }
  static void part_finite(F32 words, F32 (&bytes)[4]) {
    for (int i = 0; i < 4; ++i) bytes[i] = widen(byte_of(words, i));
  }
  static void set_nans(F32, F32 (&)[4]) {}
  // core/e4m3.h has the same conversion for one element.
  static void store(char* p, Lanes, F32 a) {
    const Bits4 bits = bits_as<Bits4>(a.v);
    const Bits4 sign = (bits >> 24) & 0x80u, size = bits & 0x7fffffffu;
    const Bits4 normal = ((size + 0x7ffffu + ((size >> 20) & 1u)) >> 20) - (120u << 3);
    const F32 aligned = F32{bits_as<Float4>(size)} + broadcast(0x1p14f);
    const Bits4 subnormal = bits_as<Bits4>(aligned.v) - 0x46800000u;
    const Bits4 largest{0x7e, 0x7e, 0x7e, 0x7e}, nan{0x7f, 0x7f, 0x7f, 0x7f};
    Bits4 code = choose(size < 0x3c800000u, subnormal, normal);
    code = choose(size >= 0x43e00000u, largest, code);
    code = choose(size > 0x7f800000u, nan, code);
    store_4x8(p, code | sign);
  }

 private:
  static F32 widen(Bits4 byte) {
    const Bits4 size = (byte & 0x7fu) << 20, sign = (byte & 0x80u) << 24;
    // Exact, and it makes floats of the subnormals of the narrower exponent.
    const F32 scaled = F32{bits_as<Float4>(size)} * broadcast(0x1p112f);
    const Bits4 nan{0x7fc00000u, 0x7fc00000u, 0x7fc00000u, 0x7fc00000u};
    const Bits4 bits = choose(size == (0x7fu << 20), nan, bits_as<Bits4>(scaled.v));
    return {bits_as<Float4>(bits | sign)};
  }
};

// Words of pairs of bf16 or of four bytes; as many as lanes are named, two or four.
inline F32 load_words(const char* p, Lanes lanes) {
  F32 a = broadcast(0.0f);
  if (lanes.bits[2] != 0) return load(reinterpret_cast<const float*>(p));
  __builtin_memcpy(&a.v, p, sizeof a.v / 2);
  return a;
}

// The element at the lower address of each pair, and the one at the higher, as floats.
inline F32 lower_of_pair(F32 a) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return {bits_as<Float4>(bits_as<Bits4>(a.v) << 16)};
#else
  return {bits_as<Float4>(bits_as<Bits4>(a.v) & 0xffff0000u)};
#endif
}
inline F32 upper_of_pair(F32 a) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return {bits_as<Float4>(bits_as<Bits4>(a.v) & 0xffff0000u)};
#else
  return {bits_as<Float4>(bits_as<Bits4>(a.v) << 16)};
#endif
}

// The reverse for columns: the even ones in a and the odd ones in b, to one row in (a, b).
inline void join_columns(F32& a, F32& b) {
  const Float4 low{a.v[0], b.v[0], a.v[1], b.v[1]}, high{a.v[2], b.v[2], a.v[3], b.v[3]};
  a.v = low;
  b.v = high;
}

// Inlined at once: compilers take a function of nothing but a prefetch for one without effect, and
// delete its calls.
[[gnu::always_inline]] inline void prefetch(const char* p) {
  __builtin_prefetch(p);
}

// r[i] lane j becomes r[j] lane i.
[[gnu::always_inline]] inline void transpose(F32 (&r)[4]) {
  F32 t[4];
  for (int i = 0; i < 4; ++i) t[i].v = Float4{r[0].v[i], r[1].v[i], r[2].v[i], r[3].v[i]};
  for (int i = 0; i < 4; ++i) r[i] = t[i];
}

}  // namespace pagoda::cpu::scalar

#define PAGODA_ISA scalar
#include "../table.inl.h"

// Loops over a row of values, written so that a compiler vectorises them: packed arrays, counts
// that are multiples of 32, one operation per loop. An operand that is the same for all keys stays
// a scalar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pagoda::mask {

template <class T>
struct Lanes {
  const T* values;  // [count], or null: `scalar` for every key
  T scalar;
};

struct Bits {
  const uint32_t* words;  // [count / 32], or null: `word` for every 32 keys
  uint32_t word;          // all ones or all zeros

  uint32_t operator[](int w) const { return words != nullptr ? words[w] : word; }
};

template <class T, class Out, class Function>
inline void map(const Lanes<T>& a, Out* out, int count, const Function& f) {
  const T* __restrict values = a.values;
  for (int i = 0; i < count; ++i) out[i] = f(values[i]);
}

template <class T, class Out, class Function>
inline void map(const Lanes<T>& a, const Lanes<T>& b, Out* out, int count, const Function& f) {
  const T *x = a.values, *y = b.values;
  if (x != nullptr && y != nullptr) {
    for (int i = 0; i < count; ++i) out[i] = f(x[i], y[i]);
  } else if (x != nullptr) {
    const T scalar = b.scalar;
    for (int i = 0; i < count; ++i) out[i] = f(x[i], scalar);
  } else if (y != nullptr) {
    const T scalar = a.scalar;
    for (int i = 0; i < count; ++i) out[i] = f(scalar, y[i]);
  } else {
    const Out value = f(a.scalar, b.scalar);
    for (int i = 0; i < count; ++i) out[i] = value;
  }
}

// 32 bytes that are 0 or 1 to 32 bits. The product moves byte i of eight to bit 56 + i.
inline uint32_t pack(const uint8_t* bytes) {
  uint32_t word = 0;
  for (size_t part = 0; part < 4; ++part) {
    uint64_t eight;
    std::memcpy(&eight, bytes + 8 * part, 8);
    word |= static_cast<uint32_t>(eight * 0x0102040810204080u >> 56) << 8 * part;
  }
  return word;
}

template <class T, class Function>
inline void test(const Lanes<T>& a, const Lanes<T>& b, uint32_t* bits, int count,
                 const Function& f) {
  constexpr int kStep = 32;
  for (int at = 0; at < count; at += kStep) {
    uint8_t bytes[kStep];
    const Lanes<T> x{a.values != nullptr ? a.values + at : nullptr, a.scalar};
    const Lanes<T> y{b.values != nullptr ? b.values + at : nullptr, b.scalar};
    map(x, y, bytes, kStep, [&f](T p, T q) { return static_cast<uint8_t>(f(p, q)); });
    bits[at / kStep] = pack(bytes);
  }
}

template <class T>
inline void blend(const Bits& condition, const Lanes<T>& yes, const Lanes<T>& no, T* out,
                  int count) {
  for (int i = 0; i < count; ++i) {
    const bool chosen = (condition[i / 32] >> (i % 32) & 1) != 0;
    const T a = yes.values != nullptr ? yes.values[i] : yes.scalar;
    const T b = no.values != nullptr ? no.values[i] : no.scalar;
    out[i] = chosen ? a : b;
  }
}

}  // namespace pagoda::mask

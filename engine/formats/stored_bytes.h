// Reading single numbers out of stored groups of elements, wherever they begin.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine/formats/quants.h"

namespace pagoda::engine {

template <class T>
T load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

inline float load_half(const uint8_t* bytes) {
  return half_to_float(load<uint16_t>(bytes));
}

struct ScaleAndMin {
  float scale, minimum;
};

// The 6-bit scale and minimum of sub-group j of Q4_K and Q5_K. The first four of each lie in the
// low bits of bytes 0-3 and 4-7; of the last four, bytes 8-11 hold the low nibbles (scale low,
// minimum high) and the top bits of bytes 0-3 and 4-7 the two bits above them.
inline ScaleAndMin scale_and_min(const uint8_t* packed, int j) {
  if (j < 4) return {static_cast<float>(packed[j] & 63), static_cast<float>(packed[j + 4] & 63)};
  const int scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
  const int minimum = (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

}  // namespace pagoda::engine

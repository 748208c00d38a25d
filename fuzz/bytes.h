// Numbers drawn from a fuzzer's input, front to back; zeros when it is used up.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagoda::fuzz {

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }

  // Mostly of the range [low, high], which must be small; one time in 16 any 32-bit number.
  int32_t number(int32_t low, int32_t high) {
    const uint8_t first = byte();
    if (first % 16 == 15) return static_cast<int32_t>(word());
    return low + static_cast<int32_t>(first) % (high - low + 1);
  }

  uint32_t word() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | byte();
    return value;
  }

  bool flag() { return byte() & 1; }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace pagoda::fuzz

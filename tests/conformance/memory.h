// Memory around tensors: a buffer between two guards, everything filled with garbage first, so that
// a read of what nobody wrote shows in the bits of a result and a stray write shows in the buffer.
#pragma once

#include <cstdint>
#include <cstring>
#include <pagoda/pagoda.hpp>
#include <vector>

#include "formats.h"
#include "random.h"
#include "src/core/dtype.h"

namespace pagoda::conformance {

// Seed 0 fills with 0xff: NaN in every float type and -1 in every integer. Others are random bytes.
class Buffer {
 public:
  Buffer(size_t bytes, size_t alignment_offset, uint64_t fill_seed)
      : bytes_(bytes + 2 * kGuard + kAlignment) {
    if (fill_seed == 0) {
      std::memset(bytes_.data(), 0xff, bytes_.size());
    } else {
      Random random(fill_seed);
      for (size_t i = 0; i < bytes_.size(); i += 8) {
        const uint64_t word = random.bits();
        std::memcpy(&bytes_[i], &word, std::min<size_t>(8, bytes_.size() - i));
      }
    }
    const auto base = reinterpret_cast<uintptr_t>(bytes_.data()) + kGuard;
    start_ = kGuard + (kAlignment - base % kAlignment) % kAlignment + alignment_offset;
  }

  std::byte* data() { return bytes_.data() + start_; }
  bool contains(const std::byte* at) const {
    return at >= bytes_.data() + start_ && at < bytes_.data() + bytes_.size() - kGuard / 2;
  }
  void snapshot() { before_ = bytes_; }

  // Puts back what a call may change: the rest must then be as it was.
  void forgive(size_t offset, size_t size) {
    std::memcpy(&bytes_[start_ + offset], &before_[start_ + offset], size);
  }
  bool is_as_before() const { return bytes_ == before_; }

 private:
  static constexpr size_t kGuard = 256, kAlignment = 256;
  std::vector<std::byte> bytes_, before_;
  size_t start_ = 0;
};

inline void store(pagoda_dtype dtype, std::byte* at, float value) {
  if (dtype == PAGODA_INT8 || dtype == PAGODA_FP8_E4M3) {
    *at = static_cast<std::byte>(code_of(dtype, value));
    return;
  }
  if (dtype == PAGODA_F32) {
    std::memcpy(at, &value, 4);
    return;
  }
  const uint16_t bits =
      dtype == PAGODA_F16 ? from_float<Half>(value).bits : from_float<Bfloat16>(value).bits;
  std::memcpy(at, &bits, 2);
}

inline float load(pagoda_dtype dtype, const std::byte* at) {
  if (dtype == PAGODA_F32) {
    float value;
    std::memcpy(&value, at, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return dtype == PAGODA_F16 ? to_float(Half{bits}) : to_float(Bfloat16{bits});
}

// Where [i, j, k, l] of a tensor of up to 4 dimensions lies. A dimension of size 1 has index 0, so
// its stride may be anything.
inline std::byte* address(const pagoda_tensor& tensor, int64_t i, int64_t j, int64_t k = 0,
                          int64_t l = 0) {
  const int64_t index[] = {i, j, k, l};
  int64_t offset = 0;
  for (int d = 0; d < tensor.num_dims; ++d)
    if (index[d] != 0) offset += index[d] * tensor.stride[d];
  return static_cast<std::byte*>(tensor.data) +
         offset * static_cast<int64_t>(size_of(tensor.dtype));
}

}  // namespace pagoda::conformance

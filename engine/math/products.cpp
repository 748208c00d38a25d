#include "engine/math/products.h"

#include <algorithm>

namespace pagoda::engine {
namespace {

constexpr int64_t kPieceBytes = int64_t{64} << 20;

}  // namespace

float* Products::scratch(int thread, int64_t size) {
  Array<float>& array = scratch_[static_cast<size_t>(thread)];
  if (array.size() < size) array = Array<float>(size);
  return array.data();
}

uint8_t* Products::weight_memory(int64_t size) {
  size = round_to_line(size);
  if (size > weight_memory_left_) {
    weight_memory_left_ = std::max(size, kPieceBytes);
    weight_memory_.emplace_back(static_cast<size_t>(weight_memory_left_));
  }
  const SystemMemory& piece = weight_memory_.back();
  std::byte* const end = piece.data() + piece.size();
  std::byte* const begin = end - weight_memory_left_;
  weight_memory_left_ -= size;
  return reinterpret_cast<uint8_t*>(begin);
}

}  // namespace pagoda::engine

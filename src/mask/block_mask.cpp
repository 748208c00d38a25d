#include "block_mask.h"

namespace pagoda::mask {
namespace {

constexpr size_t kAlign = 64;

size_t bytes_of(int64_t count) {
  return (static_cast<size_t>(count) * sizeof(int32_t) + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

size_t Capacity::bytes() const {
  return bytes_of(reqs + 1) + bytes_of(rows + 1) + 2 * bytes_of(entries) + bytes_of(words);
}

bool Capacity::holds(const Capacity& need) const {
  return reqs >= need.reqs && rows >= need.rows && entries >= need.entries && words >= need.words;
}

MemoryMap::MemoryMap(const Memory& memory) {
  auto* at = static_cast<std::byte*>(memory.data);
  const auto take = [&at](int64_t count) {
    auto* array = reinterpret_cast<int32_t*>(at);
    at += bytes_of(count);
    return array;
  };
  tile_start = take(memory.capacity.reqs + 1);
  row_start = take(memory.capacity.rows + 1);
  tile = take(memory.capacity.entries);
  bits_at = take(memory.capacity.entries);
  bits = reinterpret_cast<uint32_t*>(take(memory.capacity.words));
}

}  // namespace pagoda::mask

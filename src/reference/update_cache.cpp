#include <cstring>

#include "../core/ids.h"
#include "backend.h"

namespace pagoda::reference {
namespace {

// Row `token` of from [num_tokens, num_kv_heads, dim] to its slot of the cache `to`
// [num_pages, page_size, num_kv_heads, dim], head by head: heads need not be neighbours in either.
void copy_row(const TensorView& from, int64_t token, const TensorView& to, Slot slot,
              int32_t page_size) {
  const size_t row_bytes = static_cast<size_t>(from.shape[2]) * size_of(from.dtype);
  const auto element = static_cast<int64_t>(size_of(from.dtype));
  for (int64_t head = 0; head < from.shape[1]; ++head) {
    const int64_t source = token * from.stride[0] + head * from.stride[1];
    const int64_t target = page_of(slot, page_size).value * to.stride[0] +
                           offset_of(slot, page_size) * to.stride[1] + head * to.stride[2];
    std::memcpy(static_cast<char*>(to.data) + target * element,
                static_cast<const char*>(from.data) + source * element, row_bytes);
  }
}

}  // namespace

void ReferenceBackend::update_cache(const Prepared& prepared, const Layer& layer,
                                    const TensorView& key, const TensorView& value) {
  const int32_t page_size = prepared.problem.page_size;
  for (int32_t token = 0; token < prepared.batch.num_tokens; ++token) {
    const Slot slot{prepared.batch.slot_mapping[token]};
    if (slot.value < 0) continue;
    copy_row(key, token, layer.key_cache, slot, page_size);
    copy_row(value, token, layer.value_cache, slot, page_size);
  }
}

}  // namespace pagoda::reference

#include <cstring>
#include <vector>

#include "backend.h"
#include "cache_rows.h"

namespace pagoda::reference {
namespace {

// One token's row of one head, [dim], at `begin` of `from`, to its place in the cache. A cache of
// the query's type gets the same bits, also those of a NaN.
void write(const TensorView& from, int64_t begin, const Cache& to, Slot slot, int64_t head) {
  const int64_t dim = from.shape[2];
  if (to.format.code == Code::same) {
    const auto element = static_cast<int64_t>(size_of(from.dtype));
    std::memcpy(static_cast<char*>(to.rows.data) + row_at(to, slot, head).begin * element,
                static_cast<const char*>(from.data) + begin * element,
                static_cast<size_t>(dim * element));
    return;
  }
  std::vector<float> x(static_cast<size_t>(dim));
  for (int64_t e = 0; e < dim; ++e)
    x[static_cast<size_t>(e)] = static_cast<float>(load(from, begin + e));
  write_row(to, slot, head, x);
}

}  // namespace

void ReferenceBackend::update_cache(const Prepared& prepared, const Layer& layer,
                                    const TensorView& key, const TensorView& value) {
  const Problem& problem = prepared.problem;
  const KvFormat format = kv_format_of(problem.kv_format);
  const Cache keys{layer.key_cache, layer.key_scale, format.key, problem.page_size};
  const Cache values{layer.value_cache, layer.value_scale, format.value, problem.page_size};
  for (int32_t token = 0; token < prepared.batch.num_tokens; ++token) {
    const Slot slot{prepared.batch.slot_mapping[token]};
    if (slot.value < 0) continue;
    for (int64_t head = 0; head < problem.num_kv_heads; ++head) {
      write(key, offset(key, token, head), keys, slot, head);
      write(value, offset(value, token, head), values, slot, head);
    }
  }
}

}  // namespace pagoda::reference

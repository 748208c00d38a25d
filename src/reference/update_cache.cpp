#include <cstring>
#include <vector>

#include "backend.h"
#include "cache_rows.h"

namespace pagoda::reference {
namespace {

std::vector<float> floats_of(const TensorView& from, int64_t begin, int64_t dim) {
  std::vector<float> x(static_cast<size_t>(dim));
  for (int64_t e = 0; e < dim; ++e)
    x[static_cast<size_t>(e)] = static_cast<float>(load(from, begin + e));
  return x;
}

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
  write_row(to, slot, head, floats_of(from, begin, dim));
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

// Queries are rows of a cache of one page, whose scales, if they are made, belong to its tokens.
void ReferenceBackend::quantise_query(const QueryCodes& operands, Stream) {
  const TensorView &query = operands.query, &codes = operands.codes, &scale = operands.scale;
  const bool by_token = codes.dtype == PAGODA_INT8;
  const int64_t heads = query.shape[1], dim = query.shape[2];
  const int64_t group = by_token ? 1 : heads / scale.shape[0];
  for (int64_t token = 0; token < query.shape[0]; ++token)
    for (int64_t head = 0; head < heads; ++head) {
      const std::vector<float> x = floats_of(query, offset(query, token, head), dim);
      const int64_t to = offset(codes, token, head);
      if (by_token)
        encode_row(codes, to, x,
                   store_scale(scale, offset(scale, token, head), scale_of(Code::int8, x)));
      else
        encode_row(codes, to, x, static_cast<float>(load(scale, head / group * scale.stride[0])));
    }
}

}  // namespace pagoda::reference

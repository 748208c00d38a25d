#include "update_cache.h"

#include <cstring>

#include "../core/ids.h"
#include "element.h"

namespace pagoda::cpu {
namespace {

constexpr int64_t kBytesPerThread = 1 << 16;  // below, a second thread costs more than it saves

// Row t of `from` to slot_mapping[t] of `cache`; rows of all heads are one copy where they lie side
// by side on both ends. from: [num_tokens, num_kv_heads, dim], cache: [pages, page_size, .., dim]
void copy_token(const Prepared& prepared, const TensorView& from, const TensorView& cache,
                int64_t token) {
  const Slot slot{prepared.batch.slot_mapping[token]};
  if (slot.value < 0) return;
  const int32_t page_size = prepared.problem.page_size;
  const int64_t to = page_of(slot, page_size).value * cache.stride[0] +
                     offset_of(slot, page_size) * cache.stride[1];
  const int64_t heads = from.shape[1], dim = from.shape[2];
  const bool dense = heads == 1 || (from.stride[1] == dim && cache.stride[2] == dim);
  const int64_t copies = dense ? 1 : heads;
  const size_t bytes =
      static_cast<size_t>(dense ? heads * dim : dim) * size_of(prepared.problem.dtype);
  for (int64_t head = 0; head < copies; ++head)
    std::memcpy(address(cache, to + head * cache.stride[2]),
                address(from, token * from.stride[0] + head * from.stride[1]), bytes);
}

}  // namespace

void write_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                 const TensorView& value, ThreadPool& pool) {
  const int64_t tokens = prepared.batch.num_tokens;
  const auto copy_tokens = [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      copy_token(prepared, key, layer.key_cache, token);
      copy_token(prepared, value, layer.value_cache, token);
    }
  };
  const Problem& problem = prepared.problem;
  const int64_t bytes = tokens * problem.num_kv_heads * (problem.head_dim + problem.head_dim_v) *
                        static_cast<int64_t>(size_of(problem.dtype));
  if (bytes < pool.num_threads() * kBytesPerThread) return copy_tokens(0, tokens);
  pool.run([&](int thread) {
    const int64_t threads = pool.num_threads();
    copy_tokens(tokens * thread / threads, tokens * (thread + 1) / threads);
  });
}

}  // namespace pagoda::cpu

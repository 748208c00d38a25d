#include "update_cache.h"

#include <cstring>

#include "../core/ids.h"
#include "../core/kv_format.h"
#include "element.h"
#include "float_mode.h"

namespace pagoda::cpu {
namespace {

constexpr int64_t kBytesPerThread = 1 << 16;  // below, a second thread costs more than it saves

// Keys or values on their way into the cache.
struct Side {
  const TensorView& from;   // [num_tokens, num_kv_heads, dim]
  const TensorView& cache;  // [num_pages, page_size, num_kv_heads, dim]
  const TensorView& scale;  // by format.scale: none, [heads], [pages, page_size, heads],
                            // [heads, dim]
  CacheFormat format;
};

// Where a token's rows go.
struct Place {
  int64_t page, offset;
};

int64_t offset_in(const TensorView& tensor, Place place) {
  return place.page * tensor.stride[0] + place.offset * tensor.stride[1];
}

// Rows of all heads are one copy where they lie side by side on both ends.
void copy_token(const Side& side, int64_t token, Place place) {
  const auto& [from, cache, scale, format] = side;
  const int64_t to = offset_in(cache, place);
  const int64_t heads = from.shape[1], dim = from.shape[2];
  const bool dense = heads == 1 || (from.stride[1] == dim && cache.stride[2] == dim);
  const int64_t copies = dense ? 1 : heads;
  const size_t bytes = static_cast<size_t>(dense ? heads * dim : dim) * size_of(from.dtype);
  for (int64_t head = 0; head < copies; ++head)
    std::memcpy(address(cache, to + head * cache.stride[2]),
                address(from, token * from.stride[0] + head * from.stride[1]), bytes);
}

float made_scale(Code code, Dtype dtype, const void* x, int32_t dim, const Kernels& kernels) {
  return scale_of_row(code, grow_absmax(0, kernels.absmax(element_of(dtype), x, dim)));
}

// The scales that a row is divided by: one, or one for each of its columns. A scale of the row
// itself is made here.
const float* scales_of_row(const Side& side, const void* x, int64_t head, Place place,
                           const Kernels& kernels) {
  auto* scales = static_cast<float*>(side.scale.data);
  if (side.format.scale != ScaleOf::token) return scales + head * side.scale.stride[0];
  const auto dim = static_cast<int32_t>(side.from.shape[2]);
  float* own = scales + offset_in(side.scale, place) + head * side.scale.stride[2];
  *own = made_scale(side.format.code, side.from.dtype, x, dim, kernels);
  return own;
}

void quantise_token(const Side& side, int64_t token, Place place, const Kernels& kernels) {
  const TensorView &from = side.from, &cache = side.cache;
  const int64_t to = offset_in(cache, place);
  for (int64_t head = 0; head < from.shape[1]; ++head) {
    const void* x = address(from, token * from.stride[0] + head * from.stride[1]);
    const float* scales = scales_of_row(side, x, head, place, kernels);
    kernels.encode(element_of(from.dtype), x, scales, side.format.scale == ScaleOf::channel ? 1 : 0,
                   element_of(cache.dtype), address(cache, to + head * cache.stride[2]),
                   static_cast<int32_t>(from.shape[2]));
  }
}

void write_token(const Side& side, int64_t token, Place place, const Kernels& kernels) {
  if (side.format.code == Code::same)
    copy_token(side, token, place);
  else
    quantise_token(side, token, place, kernels);
}

// One row of queries; a scale of the row itself is made here.
void quantise_query_row(const QueryCodes& operands, int64_t token, int64_t head,
                        const Kernels& kernels) {
  const auto& [query, codes, scale] = operands;
  const void* x = address(query, token * query.stride[0] + head * query.stride[1]);
  const auto dim = static_cast<int32_t>(query.shape[2]);
  auto* own = static_cast<float*>(scale.data);
  if (codes.dtype == PAGODA_INT8) {
    own += token * scale.stride[0] + head * scale.stride[1];
    *own = made_scale(Code::int8, query.dtype, x, dim, kernels);
  } else {
    own += head / (query.shape[1] / scale.shape[0]) * scale.stride[0];
  }
  kernels.encode(element_of(query.dtype), x, own, 0, element_of(codes.dtype),
                 address(codes, token * codes.stride[0] + head * codes.stride[1]), dim);
}

// Calls body(begin, end) for ranges of so many tokens, on all threads if there is enough to do.
template <class Body>
void share_tokens(ThreadPool& pool, int64_t tokens, int64_t bytes_per_token, const Body& body) {
  const auto run = [&](int64_t begin, int64_t end) {
    const FloatMode mode;
    body(begin, end);
  };
  const int64_t threads = pool.num_threads();
  if (tokens * bytes_per_token < threads * kBytesPerThread) return run(0, tokens);
  pool.run([&](int thread) { run(tokens * thread / threads, tokens * (thread + 1) / threads); });
}

}  // namespace

void write_query_codes(const QueryCodes& operands, const Kernels& kernels, ThreadPool& pool) {
  const TensorView& query = operands.query;
  const int64_t heads = query.shape[1];
  const int64_t bytes = heads * query.shape[2] * static_cast<int64_t>(size_of(query.dtype));
  share_tokens(pool, query.shape[0], bytes, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token)
      for (int64_t head = 0; head < heads; ++head)
        quantise_query_row(operands, token, head, kernels);
  });
}

void write_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                 const TensorView& value, const Kernels& kernels, ThreadPool& pool) {
  const Problem& problem = prepared.problem;
  const KvFormat format = kv_format_of(problem.kv_format);
  const Side keys{key, layer.key_cache, layer.key_scale, format.key};
  const Side values{value, layer.value_cache, layer.value_scale, format.value};
  const int64_t bytes = int64_t{problem.num_kv_heads} * (problem.head_dim + problem.head_dim_v) *
                        static_cast<int64_t>(size_of(problem.dtype));
  share_tokens(pool, prepared.batch.num_tokens, bytes, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const Slot slot{prepared.batch.slot_mapping[token]};
      if (slot.value < 0) continue;
      const Place place{page_of(slot, problem.page_size).value, offset_of(slot, problem.page_size)};
      write_token(keys, token, place, kernels);
      write_token(values, token, place, kernels);
    }
  });
}

}  // namespace pagoda::cpu

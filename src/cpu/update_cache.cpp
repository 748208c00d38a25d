#include "update_cache.h"

#include <algorithm>
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

// Rows that are encoded by one call of a kernel.
struct Rows {
  static constexpr int kMax = 32;

  int32_t count = 0;
  const void* from[kMax];
  void* to[kMax];
  float* made[kMax];  // where the scale of a row of its own is left

  void add(const void* row, void* codes, float* scale) {
    from[count] = row;
    to[count] = codes;
    made[count++] = scale;
  }
};

// Makes the scale of each row from its largest element. scale: [rows.count], and where the rows
// want it
void make_scales(const Rows& rows, Code code, Element element, int32_t dim, const Kernels& kernels,
                 float* scale) {
  kernels.absmax(element, rows.from, rows.count, dim, scale);
  for (int32_t i = 0; i < rows.count; ++i) scale[i] = scale_of_row(code, grow_absmax(0, scale[i]));
  for (int32_t i = 0; i < rows.count; ++i) *rows.made[i] = scale[i];
}

EncodeTask::Of unit_of_scale(ScaleOf scale) {
  if (scale == ScaleOf::token) return EncodeTask::Of::row;
  return scale == ScaleOf::channel ? EncodeTask::Of::column : EncodeTask::Of::all;
}

// Tokens that have a slot.
struct Tokens {
  int32_t count = 0;
  int64_t token[Rows::kMax];
  Place place[Rows::kMax];
};

// One head after the other: its rows lie together in a page, and so do the codes that are written.
void quantise_tokens(const Side& side, const Tokens& tokens, const Kernels& kernels) {
  const TensorView &from = side.from, &cache = side.cache, &scale = side.scale;
  const Element element = element_of(from.dtype);
  const auto dim = static_cast<int32_t>(from.shape[2]);
  const bool of_tokens = side.format.scale == ScaleOf::token;
  auto* scales = static_cast<float*>(scale.data);
  for (int64_t head = 0; head < from.shape[1]; ++head) {
    Rows rows;
    for (int32_t i = 0; i < tokens.count; ++i) {
      const Place place = tokens.place[i];
      rows.add(address(from, tokens.token[i] * from.stride[0] + head * from.stride[1]),
               address(cache, offset_in(cache, place) + head * cache.stride[2]),
               of_tokens ? scales + offset_in(scale, place) + head * scale.stride[2] : nullptr);
    }
    float made[Rows::kMax];
    if (of_tokens) make_scales(rows, side.format.code, element, dim, kernels, made);
    kernels.encode({.element = element,
                    .code = element_of(cache.dtype),
                    .num_rows = rows.count,
                    .dim = dim,
                    .from = rows.from,
                    .to = rows.to,
                    .scale = of_tokens ? made : scales + head * scale.stride[0],
                    .scale_of = unit_of_scale(side.format.scale)});
  }
}

void write_tokens(const Side& side, const Tokens& tokens, const Kernels& kernels) {
  if (side.format.code != Code::same) return quantise_tokens(side, tokens, kernels);
  for (int32_t i = 0; i < tokens.count; ++i) copy_token(side, tokens.token[i], tokens.place[i]);
}

// The heads [first, end) of one token, at most Rows::kMax of them.
void quantise_query(const QueryCodes& operands, int64_t token, int64_t first, int64_t end,
                    const Kernels& kernels) {
  const auto& [query, codes, scale] = operands;
  const bool of_tokens = codes.dtype == PAGODA_INT8;
  const int64_t group = of_tokens ? 1 : query.shape[1] / scale.shape[0];
  auto* scales = static_cast<float*>(scale.data) + (of_tokens ? token * scale.stride[0] : 0);
  Rows rows;
  float own[Rows::kMax];
  for (int64_t head = first; head < end; ++head) {
    float* at = scales + (of_tokens ? head * scale.stride[1] : head / group * scale.stride[0]);
    if (!of_tokens) own[rows.count] = *at;
    rows.add(address(query, token * query.stride[0] + head * query.stride[1]),
             address(codes, token * codes.stride[0] + head * codes.stride[1]), at);
  }
  const Element element = element_of(query.dtype);
  const auto dim = static_cast<int32_t>(query.shape[2]);
  if (of_tokens) make_scales(rows, Code::int8, element, dim, kernels, own);
  kernels.encode({.element = element,
                  .code = element_of(codes.dtype),
                  .num_rows = rows.count,
                  .dim = dim,
                  .from = rows.from,
                  .to = rows.to,
                  .scale = own,
                  .scale_of = EncodeTask::Of::row});
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
      for (int64_t head = 0; head < heads; head += Rows::kMax)
        quantise_query(operands, token, head, std::min(head + Rows::kMax, heads), kernels);
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
    for (int64_t token = begin; token < end;) {
      Tokens tokens;
      for (; token < end && tokens.count < Rows::kMax; ++token) {
        const Slot slot{prepared.batch.slot_mapping[token]};
        if (slot.value < 0) continue;
        tokens.token[tokens.count] = token;
        tokens.place[tokens.count++] = {page_of(slot, problem.page_size).value,
                                        offset_of(slot, problem.page_size)};
      }
      write_tokens(keys, tokens, kernels);
      write_tokens(values, tokens, kernels);
    }
  });
}

}  // namespace pagoda::cpu

// Where the tensors of a step lie: rows, log-sum-exps, and the pages of every layout.
#include <algorithm>

#include "step.h"

namespace pagoda::conformance {
namespace {

constexpr int64_t kMostExtraPages = 40;
constexpr int64_t kMostExtraBytes = 2 << 20;

// Strides of one of the two caches, in bytes.
struct Strides {
  int64_t base, page, token, head;
};

struct CacheLayout {
  bool one_buffer;
  Strides key, value;
  int64_t key_extent, value_extent;  // bytes; with one buffer, key_extent is all of it
};

// Heads inside tokens or tokens inside heads, for rows of `row` bytes.
Strides in_page(bool heads_first, int64_t base, int64_t page, int64_t row, int64_t size,
                int64_t heads) {
  return heads_first ? Strides{base, page, row, size * row} : Strides{base, page, heads * row, row};
}

constexpr int64_t kLargestElement = 4;

// Of one key or value, with its scale where that stands behind it.
int64_t row_bytes(const Geometry& g, const Stored& stored, int64_t dim) {
  const bool with_scale = g.scales_in_rows && stored.scale == ScaleOf::token;
  return dim * static_cast<int64_t>(size_of(stored.dtype)) + (with_scale ? kLargestElement : 0);
}

CacheLayout lay_out(const Geometry& g, int64_t pages, Random& random) {
  const int64_t size = g.page_size, heads = g.num_kv_heads;
  const int64_t dk = row_bytes(g, g.stored_key(), g.head_dim);
  const int64_t dv = row_bytes(g, g.stored_value(), g.head_dim_v);
  const int64_t key_page = size * heads * dk, value_page = size * heads * dv;
  const bool flip = random.chance(0.5);
  switch (g.layout) {
    case Layout::kv_row: {
      const int64_t row = dk + dv, page = size * heads * row;
      return {true, in_page(flip, 0, page, row, size, heads),
              in_page(flip, dk, page, row, size, heads), pages * page, 0};
    }
    case Layout::kv_slices: {
      const int64_t row = std::max(dk, dv), part = size * heads * row;
      const bool parts_first = random.chance(0.5);  // (2, pages, ...), else (pages, 2, ...)
      const int64_t page = parts_first ? part : 2 * part;
      return {true, in_page(flip, 0, page, row, size, heads),
              in_page(flip, parts_first ? pages * part : part, page, row, size, heads),
              2 * pages * part, 0};
    }
    case Layout::padded: {
      const int64_t pad = random.between<int64_t>(1, 100) * kLargestElement;
      return {false, in_page(flip, 0, key_page + pad, dk, size, heads),
              in_page(flip, 0, value_page + pad, dv, size, heads), pages * (key_page + pad),
              pages * (value_page + pad)};
    }
    case Layout::cross_layer: {
      const int64_t layers = random.between(2, 3), layer = random.between<int64_t>(0, layers - 1);
      const int64_t share = key_page + value_page, page = layers * share;
      return {true, in_page(flip, layer * share, page, dk, size, heads),
              in_page(flip, layer * share + key_page, page, dv, size, heads), pages * page, 0};
    }
    default: {
      const bool heads_first = g.layout == Layout::hnd;
      return {false, in_page(heads_first, 0, key_page, dk, size, heads),
              in_page(heads_first, 0, value_page, dv, size, heads), pages * key_page,
              pages * value_page};
    }
  }
}

}  // namespace

Buffer& Step::new_buffer(int64_t elements, pagoda_dtype dtype, uint64_t fill_seed,
                         const char* name) {
  const size_t size = size_of(dtype);
  buffers_.push_back({name, std::make_unique<Buffer>(
                                static_cast<size_t>(elements) * size,
                                static_cast<size_t>(geometry_.misalignment) * size, fill_seed)});
  return *buffers_.back().buffer;
}

// A stride that no index uses may say anything.
void Step::spoil_singletons(Tensor& tensor) {
  if (!geometry_.degenerate_strides) return;
  for (int d = 0; d < tensor.num_dims; ++d)
    if (tensor.shape[d] == 1) tensor.stride[d] = random_.pick<int64_t>({0, 1, 3, 12345, -5});
}

// [rows, heads, dim]
Tensor Step::make_rows(pagoda_dtype dtype, int64_t rows, int64_t heads, int64_t dim,
                       Arrangement arrangement, uint64_t fill_seed, const char* name) {
  const int64_t gap = random_.chance(0.5) ? random_.between<int64_t>(1, 24) : 0;
  int64_t row_stride = heads * dim, head_stride = dim, elements = rows * heads * dim;
  if (arrangement == Arrangement::sliced) {  // of wider rows, as of a fused projection
    head_stride = dim + gap;
    row_stride = heads * head_stride + random_.between<int64_t>(1, 3 * dim);
    elements = rows * row_stride;
  } else if (arrangement == Arrangement::heads_first) {
    row_stride = dim + gap;
    head_stride = rows * row_stride;
    elements = heads * head_stride;
  } else if (arrangement == Arrangement::expanded) {
    row_stride = dim;
    head_stride = 0;
    elements = rows * dim;
  }
  Buffer& buffer = new_buffer(elements, dtype, fill_seed, name);
  Tensor tensor(buffer.data(), dtype, {rows, heads, dim}, {row_stride, head_stride, 1});
  spoil_singletons(tensor);
  return tensor;
}

// [num_heads, num_tokens]
Tensor Step::make_lse(uint64_t fill_seed) {
  const int64_t heads = geometry_.num_heads(), tokens = geometry_.num_tokens();
  int64_t head_stride = tokens, token_stride = 1;
  if (geometry_.lse == LseKind::transposed) {
    head_stride = 1;
    token_stride = heads;
  } else if (geometry_.lse == LseKind::strided) {
    token_stride = random_.between<int64_t>(2, 3);
    head_stride = tokens * token_stride + random_.between<int64_t>(0, 5);
  }
  const int64_t elements = std::max(heads * head_stride, tokens * token_stride);
  Buffer& buffer = new_buffer(elements, PAGODA_F32, fill_seed, "lse");
  Tensor tensor(buffer.data(), PAGODA_F32, {heads, tokens}, {head_stride, token_stride});
  spoil_singletons(tensor);
  return tensor;
}

void Step::make_cache(const Placement& placement) {
  const Geometry& g = geometry_;
  int64_t needed = 1;  // the null page
  for (const Request& r : g.requests) needed += g.pages_of(r) - r.shared_pages;
  const int64_t page_bytes =
      g.page_size * g.num_kv_heads *
      (row_bytes(g, g.stored_key(), g.head_dim) + row_bytes(g, g.stored_value(), g.head_dim_v));
  const int64_t most = std::min(kMostExtraPages, kMostExtraBytes / page_bytes);
  const int64_t pages = needed + random_.between<int64_t>(0, most);
  limits.num_pages = pages;
  const CacheLayout layout = lay_out(g, pages, random_);
  // Wherever scales or elements of several sizes share memory, it is aligned for the largest.
  const bool mixed = g.scales_in_rows || g.stored_key().dtype != g.stored_value().dtype;
  const pagoda_dtype unit = mixed ? PAGODA_F32 : g.stored_key().dtype;
  const auto buffer_of = [&](int64_t bytes, const char* name) -> Buffer& {
    return new_buffer(bytes / static_cast<int64_t>(size_of(unit)), unit, placement.fill_seed, name);
  };
  Buffer& first = buffer_of(layout.key_extent, layout.one_buffer ? "cache" : "key_cache");
  Buffer& second = layout.one_buffer ? first : buffer_of(layout.value_extent, "value_cache");
  const auto view = [&](Buffer& buffer, const Strides& half, pagoda_dtype dtype, int64_t begin,
                        std::initializer_list<int64_t> shape) {
    const auto size = static_cast<int64_t>(size_of(dtype));
    Tensor tensor(buffer.data() + half.base + begin, dtype, shape,
                  {half.page / size, half.token / size, half.head / size, 1});
    spoil_singletons(tensor);
    return tensor;
  };
  const auto rows = [&](Buffer& buffer, const Strides& half, const Stored& stored, int64_t dim) {
    return view(buffer, half, stored.dtype, 0, {pages, g.page_size, g.num_kv_heads, dim});
  };
  key_cache_ = rows(first, layout.key, g.stored_key(), g.head_dim);
  value_cache_ = rows(second, layout.value, g.stored_value(), g.head_dim_v);
  const auto scales = [&](Buffer& buffer, const Strides& half, int64_t dim) {
    return view(buffer, half, PAGODA_F32, dim, {pages, g.page_size, g.num_kv_heads});
  };
  if (g.scales_in_rows) key_scale_ = scales(first, layout.key, g.head_dim);
  if (g.scales_in_rows && g.stored_value().scale == ScaleOf::token)
    value_scale_ = scales(second, layout.value, g.head_dim_v);
  layer.key_cache = &key_cache_;
  layer.value_cache = &value_cache_;
  place_pages(placement);
}

// [first, second, third] floats in one of the orders that planes of scales have.
Tensor Step::make_token_scales(int64_t first, int64_t second, int64_t third, uint64_t fill_seed,
                               const char* name) {
  const int64_t gap = random_.chance(0.5) ? random_.between<int64_t>(1, 5) : 0;
  Tensor tensor(nullptr, PAGODA_F32, {first, second, third});
  if (random_.chance(0.5)) {  // heads before tokens
    tensor.stride[0] = second * third + gap;
    tensor.stride[1] = 1;
    tensor.stride[2] = second;
  } else {
    tensor.stride[0] = second * (third + gap);
    tensor.stride[1] = third + gap;
  }
  tensor.data = new_buffer(first * tensor.stride[0] + 1, PAGODA_F32, fill_seed, name).data();
  spoil_singletons(tensor);
  return tensor;
}

Tensor Step::make_head_scales(const std::vector<float>& scales, uint64_t fill_seed,
                              const char* name) {
  const auto heads = static_cast<int64_t>(scales.size());
  const int64_t stride = geometry_.one_scale ? 0 : random_.between<int64_t>(1, 3);
  Buffer& buffer = new_buffer((heads - 1) * stride + 1, PAGODA_F32, fill_seed, name);
  Tensor tensor(buffer.data(), PAGODA_F32, {heads}, {stride});
  for (int64_t head = 0; head < heads; ++head)
    store(PAGODA_F32, buffer.data() + static_cast<size_t>(head * stride) * sizeof(float),
          scales[static_cast<size_t>(head)]);
  return tensor;
}

Tensor Step::make_channel_scales(const std::vector<float>& scales, uint64_t fill_seed) {
  const int64_t heads = geometry_.num_kv_heads, dim = geometry_.head_dim_v;
  const int64_t stride = dim + random_.between<int64_t>(0, 3);
  Buffer& buffer = new_buffer(heads * stride, PAGODA_F32, fill_seed, "value_scale");
  Tensor tensor(buffer.data(), PAGODA_F32, {heads, dim}, {stride, 1});
  for (int64_t head = 0; head < heads; ++head)
    put(tensor, buffer.data() + static_cast<size_t>(head * stride) * sizeof(float),
        &scales[static_cast<size_t>(head * dim)], dim);
  spoil_singletons(tensor);
  return tensor;
}

// Those of tokens stay garbage where no key is.
void Step::make_scales(const Values& values, uint64_t fill_seed) {
  const Geometry& g = geometry_;
  const Stored keys = g.stored_key(), stored = g.stored_value();
  const auto plane = [&](const char* name) {
    return make_token_scales(limits.num_pages, g.page_size, g.num_kv_heads, fill_seed, name);
  };
  if (keys.scale == ScaleOf::token && !g.scales_in_rows) key_scale_ = plane("key_scale");
  if (stored.scale == ScaleOf::token && !g.scales_in_rows) value_scale_ = plane("value_scale");
  if (keys.scale == ScaleOf::head)
    key_scale_ = make_head_scales(values.key_head_scale, fill_seed, "key_scale");
  if (stored.scale == ScaleOf::head)
    value_scale_ = make_head_scales(values.value_head_scale, fill_seed, "value_scale");
  if (stored.scale == ScaleOf::channel)
    value_scale_ = make_channel_scales(values.channel_scale, fill_seed);
  if (keys.scale != ScaleOf::none) layer.key_scale = &key_scale_;
  if (stored.scale != ScaleOf::none) layer.value_scale = &value_scale_;
}

void Step::make_query_scales(const Values& values, uint64_t fill_seed) {
  const Geometry& g = geometry_;
  const Stored queries = g.stored_query();
  if (queries.scale == ScaleOf::none) return;
  layer.query_scale = &query_scale_;
  if (queries.scale == ScaleOf::head) {
    query_scale_ = make_head_scales(values.query_head_scale, fill_seed, "query_scale");
    return;
  }
  const bool transposed = random_.chance(0.5);
  const int64_t tokens = g.num_tokens(), heads = g.num_heads();
  Buffer& buffer = new_buffer(tokens * heads, PAGODA_F32, fill_seed, "query_scale");
  query_scale_ = Tensor(buffer.data(), PAGODA_F32, {tokens, heads},
                        {transposed ? 1 : heads, transposed ? tokens : 1});
  for (int64_t t = 0; t < g.num_query_tokens(); ++t)
    for (int64_t head = 0; head < heads; ++head)
      store(PAGODA_F32, address(query_scale_, t, head),
            values.query_scale[static_cast<size_t>(t * heads + head)]);
}

void Step::place_pages(const Placement& placement) {
  std::vector<int64_t> ids;
  for (int64_t id = 1; id < limits.num_pages; ++id) ids.push_back(id);
  Random random = stream_of(placement.pages_seed, 3);
  random.shuffle(ids);
  for (const Request& request : geometry_.requests) {
    std::vector<int64_t> own;
    for (int32_t i = 0; i < geometry_.pages_of(request); ++i) {
      if (i < request.shared_pages) {
        own.push_back(pages_[static_cast<size_t>(request.shares_with)][static_cast<size_t>(i)]);
      } else {
        own.push_back(ids.back());
        ids.pop_back();
      }
    }
    pages_.push_back(std::move(own));
  }
}

}  // namespace pagoda::conformance

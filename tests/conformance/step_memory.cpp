// Where the tensors of a step lie: rows, log-sum-exps, and the pages of every layout.
#include <algorithm>

#include "step.h"

namespace pagoda::conformance {
namespace {

constexpr int64_t kMostExtraPages = 40;
constexpr int64_t kMostExtraBytes = 2 << 20;

// Strides of one of the two caches, in elements.
struct Strides {
  int64_t base, page, token, head;
};

struct CacheLayout {
  bool one_buffer;
  Strides key, value;
  int64_t key_extent, value_extent;  // elements; with one buffer, key_extent is all of it
};

// Heads inside tokens or tokens inside heads, for rows of `row` elements.
Strides in_page(bool heads_first, int64_t base, int64_t page, int64_t row, int64_t size,
                int64_t heads) {
  return heads_first ? Strides{base, page, row, size * row} : Strides{base, page, heads * row, row};
}

CacheLayout lay_out(const Geometry& g, int64_t pages, Random& random) {
  const int64_t size = g.page_size, heads = g.num_kv_heads, dk = g.head_dim, dv = g.head_dim_v;
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
      const int64_t pad = random.between(1, 100);
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
Tensor Step::make_rows(int64_t rows, int64_t heads, int64_t dim, Arrangement arrangement,
                       uint64_t fill_seed, const char* name) {
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
  Buffer& buffer = new_buffer(elements, geometry_.dtype, fill_seed, name);
  Tensor tensor(buffer.data(), geometry_.dtype, {rows, heads, dim}, {row_stride, head_stride, 1});
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
  const int64_t page_bytes = static_cast<int64_t>(size_of(g.dtype)) * g.page_size * g.num_kv_heads *
                             (g.head_dim + g.head_dim_v);
  const int64_t most = std::min(kMostExtraPages, kMostExtraBytes / page_bytes);
  const int64_t pages = needed + random_.between<int64_t>(0, most);
  limits.num_pages = pages;
  const CacheLayout layout = lay_out(g, pages, random_);
  Buffer& first = new_buffer(layout.key_extent, g.dtype, placement.fill_seed,
                             layout.one_buffer ? "cache" : "key_cache");
  Buffer& second = layout.one_buffer ? first
                                     : new_buffer(layout.value_extent, g.dtype, placement.fill_seed,
                                                  "value_cache");
  const auto view = [&](Buffer& buffer, const Strides& half, int64_t dim) {
    const auto size = static_cast<int64_t>(size_of(g.dtype));
    Tensor tensor(buffer.data() + half.base * size, g.dtype,
                  {pages, g.page_size, g.num_kv_heads, dim}, {half.page, half.token, half.head, 1});
    spoil_singletons(tensor);
    return tensor;
  };
  key_cache_ = view(first, layout.key, g.head_dim);
  value_cache_ = view(second, layout.value, g.head_dim_v);
  layer.key_cache = &key_cache_;
  layer.value_cache = &value_cache_;
  place_pages(placement);
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

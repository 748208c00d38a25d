#include "cache_rows.h"

namespace pagoda::reference {
namespace {

int64_t begin_of(const Cache& cache, Slot slot, int64_t head) {
  return page_of(slot, cache.page_size).value * cache.rows.stride[0] +
         offset_of(slot, cache.page_size) * cache.rows.stride[1] + head * cache.rows.stride[2];
}

int64_t token_scale_at(const Cache& cache, Slot slot, int64_t head) {
  return page_of(slot, cache.page_size).value * cache.scale.stride[0] +
         offset_of(slot, cache.page_size) * cache.scale.stride[1] + head * cache.scale.stride[2];
}

// The scale that the writer of element e divides by.
float scale_for_writing(const Cache& cache, Slot slot, int64_t head, std::span<const float> x) {
  auto* scales = static_cast<float*>(cache.scale.data);
  if (cache.format.scale == ScaleOf::head) return scales[head * cache.scale.stride[0]];
  float absmax = 0;
  for (float element : x) absmax = grow_absmax(absmax, element);
  return scales[token_scale_at(cache, slot, head)] = scale_of_row(cache.format.code, absmax);
}

void write_element(const Cache& cache, int64_t index, float x, float inverse_scale) {
  if (cache.format.code == Code::int8)
    static_cast<int8_t*>(cache.rows.data)[index] = encode_int8(x, inverse_scale);
  else
    static_cast<E4m3*>(cache.rows.data)[index] = encode_e4m3(x, inverse_scale);
}

}  // namespace

Row row_at(const Cache& cache, Slot slot, int64_t head) {
  Row row{&cache.rows, begin_of(cache, slot, head)};
  switch (cache.format.scale) {
    case ScaleOf::none:
      break;
    case ScaleOf::head:
      row.scale = load(cache.scale, head * cache.scale.stride[0]);
      break;
    case ScaleOf::token:
      row.scale = load(cache.scale, token_scale_at(cache, slot, head));
      break;
    case ScaleOf::channel:
      row.scales = &cache.scale;
      row.scales_begin = head * cache.scale.stride[0];
      break;
  }
  return row;
}

void write_row(const Cache& cache, Slot slot, int64_t head, std::span<const float> x) {
  const int64_t begin = begin_of(cache, slot, head);
  const auto dim = static_cast<int64_t>(x.size());
  const bool by_channel = cache.format.scale == ScaleOf::channel;
  const float scale = by_channel ? 1 : scale_for_writing(cache, slot, head, x);
  const auto* channel = static_cast<const float*>(cache.scale.data) + head * cache.scale.stride[0];
  for (int64_t e = 0; e < dim; ++e)
    write_element(cache, begin + e, x[static_cast<size_t>(e)],
                  1 / (by_channel ? channel[e] : scale));
}

}  // namespace pagoda::reference

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

void write_element(const TensorView& codes, int64_t index, float x, float inverse_scale) {
  if (codes.dtype == PAGODA_INT8)
    static_cast<int8_t*>(codes.data)[index] = encode_int8(x, inverse_scale);
  else
    static_cast<E4m3*>(codes.data)[index] = encode_e4m3(x, inverse_scale);
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

float scale_of(Code code, std::span<const float> x) {
  float absmax = 0;
  for (float element : x) absmax = grow_absmax(absmax, element);
  return scale_of_row(code, absmax);
}

float store_scale(const TensorView& scales, int64_t index, float scale) {
  return static_cast<float*>(scales.data)[index] = scale;
}

void encode_row(const TensorView& codes, int64_t begin, std::span<const float> x, float scale) {
  for (size_t e = 0; e < x.size(); ++e)
    write_element(codes, begin + static_cast<int64_t>(e), x[e], 1 / scale);
}

void write_row(const Cache& cache, Slot slot, int64_t head, std::span<const float> x) {
  const int64_t begin = begin_of(cache, slot, head);
  const auto* scales = static_cast<const float*>(cache.scale.data);
  const int64_t of_head = head * cache.scale.stride[0];
  switch (cache.format.scale) {
    case ScaleOf::none:
      return;
    case ScaleOf::head:
      return encode_row(cache.rows, begin, x, scales[of_head]);
    case ScaleOf::token:
      return encode_row(cache.rows, begin, x,
                        store_scale(cache.scale, token_scale_at(cache, slot, head),
                                    scale_of(cache.format.code, x)));
    case ScaleOf::channel:
      for (size_t e = 0; e < x.size(); ++e)
        write_element(cache.rows, begin + static_cast<int64_t>(e), x[e],
                      1 / scales[of_head + static_cast<int64_t>(e)]);
  }
}

}  // namespace pagoda::reference

// What a case holds after quantisation, row by row: the oracle's side of the formats.
#include <cmath>

#include "values.h"

namespace pagoda::conformance {
namespace {

constexpr uint64_t kScales = 15;

std::vector<float> draw_scales(Random& random, int64_t count, bool one) {
  std::vector<float> scales;
  for (int64_t i = 0; i < count; ++i)
    scales.push_back(one && i > 0 ? scales[0] : static_cast<float>(random.uniform(0.01, 0.05)));
  return scales;
}

// The rows [rows, heads, dim] of numbers become those of codes; returns their scales [rows, heads].
// head_scale: [heads / group] or empty, channel_scale: [heads, dim] or empty
std::vector<float> quantise_rows(const Stored& stored, std::vector<float>& numbers, int64_t heads,
                                 int64_t dim, int64_t group, const std::vector<float>& head_scale,
                                 const std::vector<float>& channel_scale) {
  std::vector<float> scales;
  const int64_t rows = static_cast<int64_t>(numbers.size()) / dim;
  for (int64_t row = 0; row < rows; ++row) {
    float* x = &numbers[static_cast<size_t>(row * dim)];
    const int64_t head = row % heads;
    const float scale = stored.scale == ScaleOf::head
                            ? head_scale[static_cast<size_t>(head / group)]
                            : scale_of_row(stored, x, dim);
    for (int64_t e = 0; e < dim; ++e)
      x[e] =
          coded(stored.dtype, x[e],
                channel_scale.empty() ? scale : channel_scale[static_cast<size_t>(head * dim + e)]);
    if (channel_scale.empty()) scales.push_back(scale);
  }
  return scales;
}

// An infinity makes a scale whose products leave the range of float, in every implementation at
// another place; a NaN has a place of its own in every format.
void replace_infinities(const Stored& stored, std::vector<float>& numbers) {
  if (stored.scale != ScaleOf::token) return;
  for (float& x : numbers)
    if (std::isinf(x)) x = std::nanf("");
}

void quantise_request(const Geometry& g, const Values& values, RequestValues& own) {
  const Stored keys = g.stored_key(), stored = g.stored_value();
  if (keys.is_quantised()) {
    replace_infinities(keys, own.key);
    own.given_key = own.key;
    own.key_scale =
        quantise_rows(keys, own.key, g.num_kv_heads, g.head_dim, 1, values.key_head_scale, {});
  }
  if (stored.is_quantised()) {
    replace_infinities(stored, own.value);
    own.given_value = own.value;
    own.value_scale = quantise_rows(stored, own.value, g.num_kv_heads, g.head_dim_v, 1,
                                    values.value_head_scale, values.channel_scale);
  }
}

}  // namespace

void quantise(const Geometry& g, uint64_t seed, Values& values) {
  Random random = stream_of(seed, kScales);
  if (g.stored_key().scale == ScaleOf::head) {
    values.key_head_scale = draw_scales(random, g.num_kv_heads, g.one_scale);
    values.value_head_scale = draw_scales(random, g.num_kv_heads, g.one_scale);
  }
  if (g.stored_value().scale == ScaleOf::channel)
    values.channel_scale = draw_scales(random, int64_t{g.num_kv_heads} * g.head_dim_v, false);
  for (RequestValues& request : values.requests) quantise_request(g, values, request);
  const Stored queries = g.stored_query();
  if (!queries.is_quantised()) return;
  if (queries.scale == ScaleOf::head)
    values.query_head_scale = draw_scales(random, g.num_kv_heads, g.one_scale);
  values.query_scale = quantise_rows(queries, values.query, g.num_heads(), g.head_dim, g.group,
                                     values.query_head_scale, {});
}

}  // namespace pagoda::conformance

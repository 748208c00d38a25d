#include "parts.h"

namespace pagoda::conformance {

void unshare(Geometry& g) {
  for (Request& request : g.requests) {
    request.shares_with = -1;
    request.shared_pages = 0;
  }
}

Result rows_of(const Result& whole, const Geometry& g, int32_t first, int32_t count) {
  Result part{.status = whole.status, .complaint = whole.complaint};
  const auto row = static_cast<size_t>(g.num_heads() * g.head_dim_v);
  part.out.assign(
      whole.out.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(first) * row),
      whole.out.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(first + count) * row));
  for (size_t head = 0; !whole.lse.empty() && head < static_cast<size_t>(g.num_heads()); ++head)
    for (int32_t t = first; t < first + count; ++t)
      part.lse.push_back(
          whole.lse[head * static_cast<size_t>(g.num_tokens()) + static_cast<size_t>(t)]);
  return part;
}

Case part_of(const Case& whole, size_t r, int32_t first, int32_t count) {
  const Geometry& g = whole.geometry;
  const Request& request = g.requests[r];
  Case part{g, {}};
  part.geometry.padded_tokens = 0;
  part.geometry.requests = {{.query_len = count,
                             .seq_len = request.seq_len - (request.query_len - first - count),
                             .causal = request.causal}};
  int32_t begin = first;
  for (size_t i = 0; i < r; ++i) begin += g.requests[i].query_len;
  const auto cut = [&](std::vector<float>& rows, int32_t row) {
    if (!rows.empty())
      rows = {rows.begin() + ptrdiff_t{begin} * row, rows.begin() + ptrdiff_t{begin + count} * row};
  };
  part.values = whole.values;
  cut(part.values.query, g.num_heads() * g.head_dim);
  cut(part.values.query_scale, g.num_heads());
  part.values.requests = {whole.values.requests[r]};
  return part;
}

int32_t first_token_of(const Geometry& g, size_t r) {
  int32_t first = 0;
  for (size_t i = 0; i < r; ++i) first += g.requests[i].query_len;
  return first;
}

}  // namespace pagoda::conformance

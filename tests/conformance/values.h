// The numbers of a case, by position in the sequence and free of any layout: what the oracle reads
// and what step.h lays out. All of them are exactly representable in the case's element type.
#pragma once

#include <vector>

#include "geometry.h"

namespace pagoda::conformance {

struct RequestValues {
  std::vector<float> key;    // [seq_len, num_kv_heads, head_dim]
  std::vector<float> value;  // [seq_len, num_kv_heads, head_dim_v]
};

struct Values {
  std::vector<float> query;  // [num_query_tokens, num_heads, head_dim]
  std::vector<RequestValues> requests;
  std::vector<float> alibi_slopes, sinks;  // [num_heads], empty if not asked for
};

Values draw_values(const Geometry& geometry, uint64_t seed);

// Rounds to the element type, to nearest even.
float rounded(pagoda_dtype dtype, double value);

}  // namespace pagoda::conformance

// The numbers of a case, by position in the sequence and free of any layout: what the oracle reads
// and what step.h lays out. All of them are exactly representable in the case's element type.
#pragma once

#include <vector>

#include "geometry.h"

namespace pagoda::conformance {

struct RequestValues {
  // As stored: of a quantised cache, the numbers that the codes stand for.
  std::vector<float> key;    // [seq_len, num_kv_heads, head_dim]
  std::vector<float> value;  // [seq_len, num_kv_heads, head_dim_v]

  // What the stored numbers are multiplied by, [seq_len, num_kv_heads]; empty: 1.
  std::vector<float> key_scale, value_scale;

  // What the writer of a quantised cache is given; empty: what is stored.
  std::vector<float> given_key, given_value;

  const std::vector<float>& new_key() const { return given_key.empty() ? key : given_key; }
  const std::vector<float>& new_value() const { return given_value.empty() ? value : given_value; }
};

struct Values {
  std::vector<float> query;        // [num_query_tokens, num_heads, head_dim] as stored, like keys
  std::vector<float> query_scale;  // [num_query_tokens, num_heads]; empty: 1
  std::vector<RequestValues> requests;
  std::vector<float> key_head_scale, value_head_scale;  // [num_kv_heads] where heads have them
  std::vector<float> query_head_scale;                  // likewise
  std::vector<float> channel_scale;        // [num_kv_heads, head_dim_v] of values, empty: 1
  std::vector<float> alibi_slopes, sinks;  // [num_heads], empty if not asked for
};

Values draw_values(const Geometry& geometry, uint64_t seed);

// Turns the numbers of a case whose formats are quantised into stored ones with their scales.
void quantise(const Geometry& geometry, uint64_t seed, Values& values);

// Rounds to the element type, to nearest even.
float rounded(pagoda_dtype dtype, double value);

}  // namespace pagoda::conformance

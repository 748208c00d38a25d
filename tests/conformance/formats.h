// Quantised keys, values and queries from the sentences of pagoda.h alone: nothing here includes
// the library's formats. Codes are numbers before they are bytes: what the oracle reads is the
// number that a code stands for, and its scale.
#pragma once

#include <pagoda/pagoda.h>

#include <cstdint>
#include <vector>

namespace pagoda::conformance {

enum class ScaleOf : uint8_t { none, head, token, channel };

// What one tensor of a format holds.
struct Stored {
  pagoda_dtype dtype;
  ScaleOf scale;

  bool is_quantised() const { return dtype == PAGODA_INT8 || dtype == PAGODA_FP8_E4M3; }
};

Stored stored_keys(pagoda_kv_format format, pagoda_dtype same);
Stored stored_values(pagoda_kv_format format, pagoda_dtype same);
Stored stored_queries(pagoda_query_format format, pagoda_dtype same);

// The scale that a row makes for itself. row: [dim]
float scale_of_row(const Stored& stored, const float* row, int64_t dim);

// The number whose code stands for x under a scale.
float coded(pagoda_dtype code, float x, float scale);

// Of a number that has one.
uint8_t code_of(pagoda_dtype code, float number);
float number_of(pagoda_dtype code, uint8_t byte);

}  // namespace pagoda::conformance

// From stored elements to float. The formulas are those of the GGUF types: a group of elements
// shares a scale (and, in some types, a minimum), all little-endian.
#pragma once

#include <cstdint>
#include <span>

#include "engine/formats/tensor_view.h"

namespace pagoda::engine {

float half_to_float(uint16_t bits);    // IEEE binary16, exact, subnormals and NaN included
float bfloat_to_float(uint16_t bits);  // the upper half of a binary32, exact

// Restores the elements that `bytes` stores.
//   bytes  [out.size() / group_size * group_bytes]
//   out    [n], n a multiple of the type's group size
// Errors: kInvalidArgument when the two lengths do not belong together.
void dequantize(TensorType type, std::span<const std::byte> bytes, std::span<float> out);

// Rows [first_row, first_row + num_rows) of a tensor, as float.
//   out  [num_rows, view.row_size()]
void dequantize_rows(const TensorView& view, int64_t first_row, int64_t num_rows,
                     std::span<float> out);

}  // namespace pagoda::engine

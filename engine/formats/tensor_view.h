// A tensor as it lies in a model file: name, element type, shape and bytes. Files of both formats
// hand out the same view, so that the loader does not know where a weight came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace pagoda::engine {

// How elements are stored. The names are GGUF's; safetensors uses the first three. Types beyond
// the plain floats store groups of elements ("groups" in this code; never "pages" or "tiles").
enum class TensorType {
  kF32,
  kF16,
  kBf16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kI64,  // indices that some files carry along; never restored to float
};

struct TypeTraits {
  const char* name;     // "Q8_0"
  int64_t group_size;   // elements that share a scale; 1 for plain floats
  int64_t group_bytes;  // bytes of such a group
};

const TypeTraits& traits(TensorType type);

struct TensorView {
  std::string_view name;  // lives as long as the file
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;        // outermost first: a matrix is [rows, columns]; rows are dense
  std::span<const std::byte> bytes;  // lives as long as the file; exactly what shape and type need

  int64_t num_elements() const;
  int64_t num_rows() const;  // product of all dimensions but the last; 1 for a vector
  int64_t row_size() const;  // elements in the last dimension; 1 for a scalar
};

}  // namespace pagoda::engine

// A weight matrix in floats, packed once for oneDNN, and its product with rows of activations.
//
// The matrix is cut into slices of output columns. A slice times a few rows is one call on one
// thread; threads share out the slices. Neither the thread count nor the number of rows changes a
// bit of a row's result (slice_product.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/math/array.h"
#include "engine/math/products.h"

namespace pagoda::engine {

// What happens to a product on its way into memory.
struct ProductOptions {
  const float* bias = nullptr;  // [num_outputs] or null
  bool add_to_out = false;      // out += product
  int64_t out_stride = 0;       // elements from row to row of out; 0: num_outputs
};

// Writes rows [first, first + count) of a plain matrix to out: [count, num_inputs].
// Called from several threads at once.
using FillRows = std::function<void(int64_t first, int64_t count, float* out)>;

class ExpandedMatrix {
 public:
  ExpandedMatrix(Products& products, int64_t num_outputs, int64_t num_inputs, const FillRows& fill);

  int64_t num_outputs() const { return num_outputs_; }
  int64_t num_inputs() const { return num_inputs_; }

  // Makes multiply ready for this number of rows; not while another thread multiplies.
  void prepare(int64_t num_rows) const;

  // in: [num_rows, num_inputs] dense, out: [num_rows, num_outputs]
  void multiply(const Team& team, const float* in, int64_t num_rows, float* out,
                const ProductOptions& options) const;

 private:
  struct Slice {
    int64_t first;  // output column
    const SliceShape* shape;
    const std::byte* packed;  // [shape->packed_bytes()]
  };
  struct Rows {
    int64_t first, count;
  };

  void multiply_slice(const Slice& slice, Rows rows, int thread, const float* in, float* out,
                      const ProductOptions& options) const;

  Products* products_;
  int64_t num_outputs_, num_inputs_;
  SystemMemory memory_;
  std::vector<Slice> slices_;
};

}  // namespace pagoda::engine

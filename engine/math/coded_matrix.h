// A weight matrix of 4 to 8 bits, multiplied in those bits: activations are rounded to 8 bits, a
// scale for each 32 of them (as llama.cpp does), and the products of codes are added as whole
// numbers. Nothing else is rounded that a product of floats would not round.
//
// The number of rows decides which instructions multiply, and never a bit of the result.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/formats/tensor_view.h"
#include "engine/math/expanded_matrix.h"
#include "engine/math/products.h"

namespace pagoda::engine {

// A part of a stored matrix.
struct StoredPart {
  TensorView view;
  int64_t first_row, num_rows;
  int64_t first_column, num_columns;
};

class CodedMatrix {
 public:
  // Whether these are stored in codes, and cut between groups of them.
  static bool can_hold(std::span<const StoredPart> parts);

  // Parts over the same inputs, one above the other.
  CodedMatrix(Products& products, std::span<const StoredPart> parts);

  int64_t num_outputs() const { return num_outputs_; }
  int64_t num_inputs() const { return num_groups_ * kGroupInputs; }

  // in: [num_rows, num_inputs] dense, out: [num_rows, num_outputs]
  void multiply(const Team& team, const float* in, int64_t num_rows, float* out,
                const ProductOptions& options) const;

 private:
  struct Placed {
    Panel panel;
    int64_t first;    // output column
    int num_columns;  // at most 16
  };
  struct Range {
    int64_t begin, end;
  };

  void pack(const StoredPart& part);
  void multiply_panels(Range panels, Range row_range, const CodedRows& rows, int thread, float* out,
                       const ProductOptions& options) const;

  Products* products_;
  int64_t num_outputs_ = 0, num_groups_;
  std::vector<Placed> panels_;
};

}  // namespace pagoda::engine

// A weight matrix and its product with rows of activations, whichever way it is stored.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "engine/math/coded_matrix.h"
#include "engine/math/expanded_matrix.h"

namespace pagoda::engine {

class Matrix {
 public:
  // Of floats.
  Matrix(Products& products, int64_t num_outputs, int64_t num_inputs, const FillRows& fill);

  // Of parts over the same inputs, one above the other: in their codes if all are stored in codes,
  // else expanded to floats.
  Matrix(Products& products, std::span<const StoredPart> parts);

  int64_t num_outputs() const;
  int64_t num_inputs() const;
  bool is_coded() const { return std::holds_alternative<CodedMatrix>(form_); }

  // By all threads.
  //   in [num_rows, num_inputs] dense, out [num_rows, num_outputs]
  void multiply(const float* in, int64_t num_rows, float* out,
                const ProductOptions& options = {}) const;

  // By a team, after prepare with this number of rows.
  void multiply(const Team& team, const float* in, int64_t num_rows, float* out,
                const ProductOptions& options = {}) const;

  // Makes ready for this number of rows; not while another thread multiplies.
  void prepare(int64_t num_rows) const;

 private:
  Products* products_;
  std::variant<ExpandedMatrix, CodedMatrix> form_;
};

}  // namespace pagoda::engine

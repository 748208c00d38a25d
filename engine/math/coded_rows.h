// Memory for the codes of a step's activations, made anew for each product.
#pragma once

#include <cstdint>

#include "engine/math/array.h"
#include "engine/math/coded_panel.h"
#include "engine/math/isa/kernels.h"
#include "engine/math/team.h"

namespace pagoda::engine {

class CodedRowBuffer {
 public:
  // The codes of `in` [num_rows, num_inputs], valid until the next call. Memory only grows.
  // num_inputs is a multiple of 32.
  CodedRows code(const MathKernels& kernels, const Team& team, const float* in, int64_t num_rows,
                 int64_t num_inputs);

 private:
  void reserve(int64_t num_rows, int64_t num_groups);

  int64_t capacity_ = 0;  // groups
  Array<int8_t> codes_;
  Array<float> scales_, sums_;
  Array<int32_t> code_sums_;
};

}  // namespace pagoda::engine

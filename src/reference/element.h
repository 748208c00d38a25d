// Elements of strided tensors, one at a time, in double.
#pragma once

#include "../core/dtype.h"
#include "../core/e4m3.h"
#include "../core/error.h"
#include "../core/tensor.h"

namespace pagoda::reference {

inline double load(const TensorView& tensor, int64_t index) {
  switch (tensor.dtype) {
    case PAGODA_F32:
      return static_cast<double>(static_cast<const float*>(tensor.data)[index]);
    case PAGODA_F16:
      return static_cast<double>(to_float(static_cast<const Half*>(tensor.data)[index]));
    case PAGODA_BF16:
      return static_cast<double>(to_float(static_cast<const Bfloat16*>(tensor.data)[index]));
    case PAGODA_FP8_E4M3:
      return static_cast<double>(to_float(static_cast<const E4m3*>(tensor.data)[index]));
    case PAGODA_INT8:
      return static_cast<double>(static_cast<const int8_t*>(tensor.data)[index]);
  }
  throw Failure(PAGODA_INTERNAL, std::string("no elements of ") + name_of(tensor.dtype),
                Where::here());
}

// Rounds twice, double to float to the element: at most one part in 2^29 beyond rounding once.
inline void store(const TensorView& tensor, int64_t index, double value) {
  const float rounded = static_cast<float>(value);
  switch (tensor.dtype) {
    case PAGODA_F32:
      static_cast<float*>(tensor.data)[index] = rounded;
      return;
    case PAGODA_F16:
      static_cast<Half*>(tensor.data)[index] = from_float<Half>(rounded);
      return;
    case PAGODA_BF16:
      static_cast<Bfloat16*>(tensor.data)[index] = from_float<Bfloat16>(rounded);
      return;
    default:
      break;
  }
  throw Failure(PAGODA_INTERNAL, std::string("no elements of ") + name_of(tensor.dtype),
                Where::here());
}

// Offset of [i, j, 0].
inline int64_t offset(const TensorView& tensor, int64_t i, int64_t j) {
  return i * tensor.stride[0] + j * tensor.stride[1];
}

}  // namespace pagoda::reference

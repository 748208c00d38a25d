// From the library's tensors to what the kernels take.
#pragma once

#include "../core/tensor.h"
#include "kernels.h"

namespace pagoda::cpu {

inline Element element_of(Dtype dtype) {
  switch (dtype) {
    case PAGODA_F32:
      return Element::f32;
    case PAGODA_F16:
      return Element::f16;
    case PAGODA_BF16:
      return Element::bf16;
    case PAGODA_INT8:
      return Element::int8;
    case PAGODA_FP8_E4M3:
      return Element::e4m3;
  }
  return Element::f32;
}

// What the kernels' numbers of an element are multiplied by to be the element's.
inline float unit_of(Dtype dtype) {
  return dtype == PAGODA_FP8_E4M3 ? 256.0f : 1.0f;
}

// `offset` elements from the tensor's first.
inline char* address(const TensorView& tensor, int64_t offset) {
  return static_cast<char*>(tensor.data) + offset * static_cast<int64_t>(size_of(tensor.dtype));
}

// lse: [num_heads, num_tokens]
inline float& lse_at(const TensorView& lse, int64_t head, int64_t token) {
  return static_cast<float*>(lse.data)[head * lse.stride[0] + token * lse.stride[1]];
}

}  // namespace pagoda::cpu

// From the library's tensors to what the kernels take.
#pragma once

#include "../core/tensor.h"
#include "kernels.h"

namespace pagoda::cpu {

inline Element element_of(Dtype dtype) {
  return dtype == PAGODA_F32 ? Element::f32 : dtype == PAGODA_F16 ? Element::f16 : Element::bf16;
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

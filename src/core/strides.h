// Strides of dimensions of size 1 carry no information, and some frameworks set them to 1
// (PyTorch's DLPack export does). A TMA descriptor needs every stride but the innermost to be a
// multiple of 16 bytes and faults otherwise, so such strides are made canonical where tensors
// enter.
#pragma once

#include <cstdint>
#include <string>

#include "dtype.h"

namespace pagoda {

// Sets the stride of every dimension of size 1 to what a packed array would have there: the stride
// times the size of the dimension behind it. Other strides are never altered, and they do count for
// the dimensions of size 1 before them. Returns whether anything changed. Idempotent.
// shape, stride: [num_dims]
bool canonicalize_strides(int num_dims, const int64_t* shape, int64_t* stride);

// Whether a TMA descriptor can describe this tensor; empty if it can, otherwise the reason. Pure.
// The rules are those of cuTensorMapEncodeTiled without interleave: a base aligned to 16 bytes, 1
// to 5 dimensions of 1 .. 2^32 elements, an innermost stride of 1, the other strides multiples of
// 16 bytes below 2^40 bytes. shape, stride: [num_dims], in elements, outermost first
std::string why_not_tma(const void* base, Dtype dtype, int num_dims, const int64_t* shape,
                        const int64_t* stride);

}  // namespace pagoda

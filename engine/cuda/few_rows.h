// Products of few rows with a matrix, in bf16. The weights' way from memory is then all that takes
// time, so these kernels read them once, begin to before the kernel in front has ended
// (programmatic dependent launch), and compute the norm in front and the rotation or the gate
// behind in the same launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "engine/cuda/kernels.h"
#include "engine/cuda/products.h"

namespace pagoda::engine::cuda {

inline constexpr int64_t kMaxFewRows = 16;

// Whether a product is better made here than by cuBLASLt. The choice changes the order of sums.
bool has_few_rows(const DeviceMatrix& matrix, int64_t num_rows, pagoda_dtype dtype);

enum class FewRowsOut : uint8_t {
  kTyped,      // written, bf16
  kFloat,      // written, float
  kAddFloat,   // added to float
  kSiluTimes,  // silu of the first half of the outputs times the second: bf16, half as many
  kRotated,    // queries, keys and values as queue_rotate leaves them
};

// Whether kRotated does what queue_rotate does: no norm of heads, which looks at whole ones.
bool can_rotate(const RotateHeads& rotate);

struct FewRows {
  DeviceMatrix matrix;
  int64_t num_rows;
  // The input: bf16 [num_rows, num_inputs], or where it is null the norm of residual's rows.
  const void* in;
  const float* residual;  // [tokens, num_inputs]
  const int32_t* rows;    // [num_rows] tokens, or null: row i is token i
  const float* weight;    // [num_inputs] of the norm
  float epsilon;
  void* out;  // [num_rows, outputs], of a type by `kind`
  FewRowsOut kind;
  RotateHeads rotate = {};  // of kRotated; its qkv is not read
};

void queue_few_rows(const FewRows& product, cudaStream_t stream);

}  // namespace pagoda::engine::cuda

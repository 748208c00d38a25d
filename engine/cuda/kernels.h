// The small operations between products, each one launch for all rows of a step. Activations that
// a product reads are of the type of the weights, f16 or bf16 ("typed"); the residual, norms'
// weights, biases and logits are float, and so is all arithmetic. engine/math/ops.h and rope.h have
// the formulas.
#pragma once

#include <cuda_runtime_api.h>
#include <pagoda/pagoda.h>

#include <cstdint>

#include "engine/cuda/sampling_rules.h"

namespace pagoda::engine::cuda {

struct NormRows {
  const float* residual;   // [tokens, size]
  const int32_t* rows;     // [num_rows], or null: row i is token i
  const float* weight;     // [size]
  void* out;               // typed [num_rows, size]
  int64_t num_rows, size;  // size is a multiple of 8
  float epsilon;
  pagoda_dtype dtype;
};
void queue_norm(const NormRows& norm, cudaStream_t stream);

struct EmbedRows {
  const int32_t* tokens;   // [num_rows], each within the embedding
  const void* embedding;   // typed [vocab_size, size]
  float* residual;         // [num_rows, size], written
  int64_t num_rows, size;  // size is a multiple of 8
  pagoda_dtype dtype;
};
void queue_embed(const EmbedRows& embed, cudaStream_t stream);

struct RotateHeads {
  void* qkv;                 // typed [num_rows, num_heads + 2 num_kv_heads, head_dim], in place
  const float* bias;         // [(num_heads + 2 num_kv_heads) * head_dim], or null
  const float* query_norm;   // [head_dim], or null
  const float* key_norm;     // [head_dim], likewise
  const float* cosines;      // [positions, num_pairs], or null: no rotation
  const float* sines;        // likewise
  const int32_t* positions;  // [num_rows]
  int64_t num_rows;
  int32_t num_heads, num_kv_heads, head_dim, num_pairs;
  bool interleaved;  // pairs are (0, 1), (2, 3), ... instead of (0, n), (1, n + 1), ...
  float epsilon;
  pagoda_dtype dtype;
};
// Adds the bias, then norms queries and keys, then turns them.
void queue_rotate(const RotateHeads& rotate, cudaStream_t stream);

// out[i] = silu(gate[i]) * up[i].
//   gate_up  typed [num_rows, gate | up, size], size a multiple of 8
//   out      typed [num_rows, size]
void queue_silu_times(const void* gate_up, void* out, int64_t num_rows, int64_t size,
                      pagoda_dtype dtype, cudaStream_t stream);

// rows[i] += bias, rows: [num_rows, size]
void queue_add_bias(const float* bias, float* rows, int64_t num_rows, int64_t size,
                    cudaStream_t stream);

struct DrawRows {
  const float* logits;      // [num_draws, stride]
  int64_t stride;           // columns of the output matrix
  int32_t vocab_size;       // the first of them, which may be drawn
  const DrawParams* draws;  // [num_draws]
  const uint32_t* seen;     // [num_draws, ceil(vocab_size / 32)]; read where a draw has a penalty
  DrawnToken* out;          // [num_draws]
  int32_t num_draws;
};
// Draws a token from each row by the rules of sampling_rules.h.
void queue_draw(const DrawRows& rows, cudaStream_t stream);

}  // namespace pagoda::engine::cuda

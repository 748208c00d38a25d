// The forward pass of a decoder on the device, as work on a stream: from a step's arrays to drawn
// tokens. It waits for nothing and allocates nothing, so that it can be captured.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "engine/cuda/cuda_attention.h"
#include "engine/cuda/device_memory.h"
#include "engine/cuda/device_weights.h"
#include "engine/cuda/few_rows.h"
#include "engine/cuda/kernels.h"
#include "engine/cuda/products.h"
#include "engine/cuda/step_shape.h"

namespace pagoda::engine::cuda {

// What the draw of tokens reads and writes besides the step's arrays.
struct DrawBuffers {
  DrawBuffers() = default;
  DrawBuffers(int64_t num_draws, int64_t num_logits, int32_t vocab_size)
      : capacity(num_draws),
        logits(num_draws * num_logits),
        seen(num_draws * ((vocab_size + 31) / 32)),
        drawn(num_draws) {}

  int64_t capacity = 0;
  DeviceArray<float> logits;      // [capacity, columns of the output matrix]
  DeviceArray<uint32_t> seen;     // [capacity, ceil(vocab_size / 32)]
  DeviceArray<DrawnToken> drawn;  // [capacity]
};

class CudaDecoder {
 public:
  // config outlives the decoder. num_drawable: the first tokens of the vocabulary.
  CudaDecoder(const ModelFile& file, const ModelConfig& config, const DecoderOptions& options,
              int32_t num_drawable, const Progress& progress);

  const CudaAttention& attention() const { return attention_; }

  // Queues a whole step. arrays: on the device, as write_step made them.
  void queue_step(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
                  const DrawBuffers& buffers, cudaStream_t stream);

 private:
  // Rows of activations of one step. `wide` holds queries, keys and values, then gate and up.
  struct Activations {
    Activations(const ModelConfig& config, int64_t max_tokens);

    DeviceArray<float> residual;   // [max_tokens, hidden_size]
    DeviceArray<uint16_t> normed;  // typed [max_tokens, hidden_size]
    DeviceArray<uint16_t> wide;    // typed [max_tokens, queries, keys and values | gate and up]
    DeviceArray<uint16_t> narrow;  // typed [max_tokens, attention's output | gated]
  };

  struct Normed {
    DeviceMatrix matrix;
    const float* weight;  // [hidden_size] of the norm
    const int32_t* rows;  // [num_rows] tokens, or null: row i is token i
    int64_t num_rows;
    RotateHeads rotate;  // what few rows do with it at once
  };

  RotateHeads rotation_of(int layer, int64_t num_tokens, const int32_t* positions) const;

  void queue_normed(const Normed& normed, FewRowsOut few, ProductOut many, void* out,
                    cudaStream_t stream);
  void queue_added(const DeviceMatrix& matrix, int64_t num_rows, cudaStream_t stream);
  void queue_attention_part(int layer, int64_t num_tokens, const int32_t* positions,
                            cudaStream_t stream);
  void queue_ffn_part(int layer, int64_t num_tokens, cudaStream_t stream);
  void queue_draws(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
                   const DrawBuffers& buffers, cudaStream_t stream);

  const ModelConfig& config_;
  const pagoda_dtype dtype_;
  const int32_t num_drawable_;
  std::unique_ptr<DeviceWeights> weights_;
  DeviceArray<float> cosines_, sines_;  // [max_seq_len, num_pairs]
  CudaAttention attention_;
  Activations activations_;
  Products products_;
};

}  // namespace pagoda::engine::cuda

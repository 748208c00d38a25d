// The weights of a decoder on the device: matrices in the type of attention, those that share an
// input one above the other; norms and biases as float.
#pragma once

#include <pagoda/pagoda.h>

#include <cstdint>
#include <vector>

#include "engine/cuda/device_memory.h"
#include "engine/cuda/products.h"
#include "engine/formats/model_file.h"
#include "engine/math/threads.h"
#include "engine/model/weights.h"

namespace pagoda::engine::cuda {

struct DeviceLayer {
  const float* attention_norm = nullptr;      // [hidden_size]
  DeviceMatrix qkv;                           // hidden -> (heads + 2 kv_heads) * head_dim
  const float* qkv_bias = nullptr;            // [(heads + 2 kv_heads) * head_dim], or null
  const float* query_norm = nullptr;          // [head_dim], or null
  const float* key_norm = nullptr;            // [head_dim], or null
  DeviceMatrix attention_out;                 // heads * head_dim -> hidden
  const float* attention_out_bias = nullptr;  // [hidden_size], or null
  const float* ffn_norm = nullptr;            // [hidden_size]
  DeviceMatrix gate_up;                       // hidden -> gate rows, then up rows: 2 * ffn_size
  DeviceMatrix down;                          // ffn_size -> hidden
};

class DeviceWeights {
 public:
  // Errors: those of ModelFile::tensor; kLimit without enough memory on the device.
  DeviceWeights(const ModelFile& file, pagoda_dtype dtype, Threads& threads,
                const Progress& progress);

  const DeviceMatrix& embedding() const { return embedding_; }  // [vocab_size, hidden_size]
  const DeviceMatrix& output() const { return output_; }        // may be the same
  const float* output_norm() const { return output_norm_; }     // [hidden_size]
  const std::vector<DeviceLayer>& layers() const { return layers_; }

 private:
  class Loader;

  std::vector<DeviceArray<uint16_t>> matrices_;
  std::vector<DeviceArray<float>> vectors_;
  DeviceMatrix embedding_, output_;
  const float* output_norm_ = nullptr;
  std::vector<DeviceLayer> layers_;
};

}  // namespace pagoda::engine::cuda

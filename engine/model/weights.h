// The weights of a decoder in the form the forward pass multiplies with: matrices that share an
// input stand in one, in their codes or as floats (matrix.h).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/formats/model_file.h"
#include "engine/math/matrix.h"
#include "engine/model/tensor_share.h"
#include "engine/progress.h"

namespace pagoda::engine {

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden_size]
  std::unique_ptr<Matrix> qkv;    // query, key and value rows: hidden -> (heads + 2 kv_heads) * d
  std::vector<float> qkv_bias;    // [(heads + 2 kv_heads) * head_dim], or empty
  std::vector<float> query_norm;  // [head_dim], or empty
  std::vector<float> key_norm;    // [head_dim], or empty
  std::unique_ptr<Matrix> attention_out;  // heads * d -> hidden
  std::vector<float> attention_out_bias;  // [hidden_size], or empty
  std::vector<float> ffn_norm;            // [hidden_size]
  std::unique_ptr<Matrix> gate_up;        // hidden -> gate rows, then up rows: 2 * ffn_size
  std::unique_ptr<Matrix> down;           // ffn_size -> hidden
};

struct Weights {
  TensorView embedding;  // [vocab_size, hidden_size], as stored: a row is expanded when it is used
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;  // [hidden_size]
  std::unique_ptr<Matrix> output;  // hidden -> vocab_size
};

// Of a rank: its rows of the matrices that lead to its heads and its part of the feed-forward
// network, and its columns of those that lead back; what is added once is the first rank's.
// `file` outlives the weights. Errors: those of ModelFile::tensor; kLimit without enough memory.
Weights load_weights(const ModelFile& file, const TensorShare& share, Products& products,
                     const Progress& progress);

}  // namespace pagoda::engine

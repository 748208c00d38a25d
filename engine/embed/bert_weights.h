// The weights of a BERT encoder, expanded to float, with the matrices that share an input in one.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "engine/embed/bert_config.h"
#include "engine/formats/safetensors.h"
#include "engine/math/matrix.h"

namespace pagoda::engine {

struct BertNorm {
  std::vector<float> weight, bias;  // [hidden_size]
};

struct BertProduct {
  std::unique_ptr<Matrix> matrix;
  std::vector<float> bias;  // [num_outputs]
};

struct BertLayer {
  BertProduct qkv;            // hidden -> query, key and value rows: 3 * hidden
  BertProduct attention_out;  // hidden -> hidden
  BertNorm attention_norm;
  BertProduct up;    // hidden -> ffn_size
  BertProduct down;  // ffn_size -> hidden
  BertNorm ffn_norm;
};

struct BertWeights {
  TensorView words;              // [vocab_size, hidden_size], as stored
  std::vector<float> positions;  // [num_positions, hidden_size]
  std::vector<float> type;       // [hidden_size] of token type 0, which all tokens of a text have
  BertNorm embedding_norm;
  std::vector<BertLayer> layers;
};

// `file` outlives the weights. Errors: kNotFound for a tensor that is missing, kMalformed for one
// of another shape than the configuration says.
BertWeights load_bert_weights(const SafetensorsFile& file, const BertConfig& config,
                              Products& products);

}  // namespace pagoda::engine

#include "engine/model/weights.h"

#include <span>
#include <string>

#include "engine/formats/mapped_file.h"
#include "engine/formats/quants.h"

namespace pagoda::engine {
namespace {

class Loader {
 public:
  Loader(const ModelFile& file, const TensorShare& share, Products& products,
         const Progress& progress)
      : file_(file),
        share_(share),
        products_(products),
        progress_(progress),
        total_(file.tensor_bytes()) {}

  // A tensor of one dimension, whole; empty unless `present`.
  std::vector<float> vector(const std::string& name, bool present = true) {
    if (!present) return {};
    const TensorView view = file_.tensor(name);
    std::vector<float> values(static_cast<size_t>(view.num_elements()));
    dequantize(view.type, view.bytes, values);
    count(view);
    return values;
  }

  // This rank's parts of several vectors, one behind the other.
  std::vector<float> joined_parts(const std::vector<std::string>& names, bool present) {
    std::vector<float> values;
    for (const std::string& name : names) {
      const std::vector<float> whole = vector(name, present);
      const Part part = part_of(static_cast<int64_t>(whole.size()), share_);
      values.insert(values.end(), whole.begin() + part.begin, whole.begin() + part.end);
    }
    return values;
  }

  std::unique_ptr<Matrix> matrix(const std::string& name) {
    const TensorView view = file_.tensor(name);
    return from_parts({{.view = view,
                        .first_row = 0,
                        .num_rows = view.num_rows(),
                        .first_column = 0,
                        .num_columns = view.row_size()}});
  }

  // This rank's rows of matrices over the same input, one above the other.
  std::unique_ptr<Matrix> row_parts(const std::vector<std::string>& names) {
    std::vector<StoredPart> parts;
    for (const std::string& name : names) {
      const TensorView view = file_.tensor(name);
      const Part rows = part_of(view.num_rows(), share_);
      parts.push_back({.view = view,
                       .first_row = rows.begin,
                       .num_rows = rows.size(),
                       .first_column = 0,
                       .num_columns = view.row_size()});
    }
    return from_parts(parts);
  }

  // This rank's columns of a matrix.
  std::unique_ptr<Matrix> column_part(const std::string& name) {
    const TensorView view = file_.tensor(name);
    const Part columns = part_of(view.row_size(), share_);
    return from_parts({{.view = view,
                        .first_row = 0,
                        .num_rows = view.num_rows(),
                        .first_column = columns.begin,
                        .num_columns = columns.size()}});
  }

 private:
  std::unique_ptr<Matrix> from_parts(const std::vector<StoredPart>& parts) {
    auto matrix = std::make_unique<Matrix>(products_, parts);
    for (const StoredPart& part : parts) {
      count(part.view);
      forget_mapped(part.view.bytes);  // the matrix has its own form of them
    }
    return matrix;
  }

  void count(const TensorView& view) {
    done_ += static_cast<int64_t>(view.bytes.size());
    if (progress_) progress_(static_cast<double>(done_) / static_cast<double>(total_));
  }

  const ModelFile& file_;
  const TensorShare& share_;
  Products& products_;
  const Progress& progress_;
  int64_t total_, done_ = 0;  // bytes
};

LayerWeights load_layer(Loader& load, const ModelConfig& config, bool is_first_rank,
                        int64_t index) {
  const std::string layer = "blk." + std::to_string(index) + ".";
  return {
      .attention_norm = load.vector(layer + "attn_norm.weight"),
      .qkv = load.row_parts(
          {layer + "attn_q.weight", layer + "attn_k.weight", layer + "attn_v.weight"}),
      .qkv_bias = load.joined_parts(
          {layer + "attn_q.bias", layer + "attn_k.bias", layer + "attn_v.bias"}, config.qkv_bias),
      .query_norm = load.vector(layer + "attn_q_norm.weight", config.qk_norm),
      .key_norm = load.vector(layer + "attn_k_norm.weight", config.qk_norm),
      .attention_out = load.column_part(layer + "attn_output.weight"),
      .attention_out_bias =
          load.vector(layer + "attn_output.bias", config.output_bias && is_first_rank),
      .ffn_norm = load.vector(layer + "ffn_norm.weight"),
      .gate_up = load.row_parts({layer + "ffn_gate.weight", layer + "ffn_up.weight"}),
      .down = load.column_part(layer + "ffn_down.weight"),
  };
}

}  // namespace

Weights load_weights(const ModelFile& file, const TensorShare& share, Products& products,
                     const Progress& progress) {
  Loader load(file, share, products, progress);
  const ModelConfig& config = file.config();
  Weights weights;
  weights.embedding = file.tensor("token_embd.weight");
  for (int64_t layer = 0; layer < config.num_layers; layer++)
    weights.layers.push_back(load_layer(load, config, share.rank() == 0, layer));
  weights.output_norm = load.vector("output_norm.weight");
  weights.output = load.matrix(config.tied_embeddings ? "token_embd.weight" : "output.weight");
  return weights;
}

}  // namespace pagoda::engine

#include "engine/model/weights.h"

#include <span>
#include <string>

#include "engine/formats/quants.h"

namespace pagoda::engine {
namespace {

class Loader {
 public:
  Loader(const ModelFile& file, Products& products, const Progress& progress)
      : file_(file), products_(products), progress_(progress), total_(file.tensor_bytes()) {}

  // A tensor of one dimension, whole; empty unless `present`.
  std::vector<float> vector(const std::string& name, bool present = true) {
    if (!present) return {};
    const TensorView view = file_.tensor(name);
    std::vector<float> values(static_cast<size_t>(view.num_elements()));
    dequantize(view.type, view.bytes, values);
    count(view);
    return values;
  }

  // Several vectors, one behind the other.
  std::vector<float> joined_vector(const std::vector<std::string>& names, bool present) {
    std::vector<float> values;
    for (const std::string& name : names) {
      const std::vector<float> part = vector(name, present);
      values.insert(values.end(), part.begin(), part.end());
    }
    return values;
  }

  // Matrices over the same input, one above the other.
  std::unique_ptr<Matrix> matrix(const std::vector<std::string>& names) {
    std::vector<TensorView> views;
    int64_t num_rows = 0;
    for (const std::string& name : names) {
      views.push_back(file_.tensor(name));
      num_rows += views.back().num_rows();
    }
    const int64_t num_inputs = views.front().row_size();
    const auto fill = [&views, num_inputs](int64_t first, int64_t rows, float* out) {
      for (const TensorView& view : views) {
        const int64_t here = std::min(rows, view.num_rows() - first);
        if (here > 0) {
          const auto size = static_cast<size_t>(here * num_inputs);
          dequantize_rows(view, first, here, std::span(out, size));
          out += size;
          rows -= here;
          first = 0;
        } else {
          first -= view.num_rows();
        }
      }
    };
    auto matrix = std::make_unique<Matrix>(products_, num_rows, num_inputs, fill);
    for (const TensorView& view : views) count(view);
    return matrix;
  }

 private:
  void count(const TensorView& view) {
    done_ += static_cast<int64_t>(view.bytes.size());
    if (progress_) progress_(static_cast<double>(done_) / static_cast<double>(total_));
  }

  const ModelFile& file_;
  Products& products_;
  const Progress& progress_;
  int64_t total_, done_ = 0;  // bytes
};

LayerWeights load_layer(Loader& load, const ModelConfig& config, int64_t index) {
  const std::string layer = "blk." + std::to_string(index) + ".";
  return {
      .attention_norm = load.vector(layer + "attn_norm.weight"),
      .qkv =
          load.matrix({layer + "attn_q.weight", layer + "attn_k.weight", layer + "attn_v.weight"}),
      .qkv_bias = load.joined_vector(
          {layer + "attn_q.bias", layer + "attn_k.bias", layer + "attn_v.bias"}, config.qkv_bias),
      .query_norm = load.vector(layer + "attn_q_norm.weight", config.qk_norm),
      .key_norm = load.vector(layer + "attn_k_norm.weight", config.qk_norm),
      .attention_out = load.matrix({layer + "attn_output.weight"}),
      .attention_out_bias = load.vector(layer + "attn_output.bias", config.output_bias),
      .ffn_norm = load.vector(layer + "ffn_norm.weight"),
      .gate_up = load.matrix({layer + "ffn_gate.weight", layer + "ffn_up.weight"}),
      .down = load.matrix({layer + "ffn_down.weight"}),
  };
}

}  // namespace

Weights load_weights(const ModelFile& file, Products& products, const Progress& progress) {
  Loader load(file, products, progress);
  const ModelConfig& config = file.config();
  Weights weights;
  weights.embedding = file.tensor("token_embd.weight");
  for (int64_t layer = 0; layer < config.num_layers; layer++)
    weights.layers.push_back(load_layer(load, config, layer));
  weights.output_norm = load.vector("output_norm.weight");
  weights.output = load.matrix({config.tied_embeddings ? "token_embd.weight" : "output.weight"});
  return weights;
}

}  // namespace pagoda::engine

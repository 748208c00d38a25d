#include "engine/embed/bert_weights.h"

#include <string>

#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/formats/quants.h"

namespace pagoda::engine {
namespace {

using Names = std::vector<std::string>;

class Loader {
 public:
  Loader(const SafetensorsFile& file, Products& products) : file_(file), products_(products) {
    // Files of the whole model and of its encoder alone differ in this.
    if (file.find_tensor("bert.embeddings.word_embeddings.weight") != nullptr) prefix_ = "bert.";
  }

  const TensorView& tensor(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorView* found = file_.find_tensor(prefix_ + name);
    require(found != nullptr, ErrorKind::kNotFound, "the model has no tensor ",
            in_quotes(prefix_ + name));
    require(found->shape == shape, ErrorKind::kMalformed, "tensor ", in_quotes(found->name),
            " has another shape than config.json says");
    return *found;
  }

  std::vector<float> values(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorView& view = tensor(name, shape);
    std::vector<float> values(static_cast<size_t>(view.num_elements()));
    dequantize(view.type, view.bytes, values);
    return values;
  }

  BertNorm norm(const std::string& name, int64_t size) const {
    return {.weight = values(name + ".weight", {size}), .bias = values(name + ".bias", {size})};
  }

  // Products of num_outputs rows each over the same input, one above the other.
  BertProduct product(const Names& names, int64_t num_outputs, int64_t num_inputs) const {
    BertProduct product;
    std::vector<TensorView> views;
    for (const std::string& name : names) {
      views.push_back(tensor(name + ".weight", {num_outputs, num_inputs}));
      const std::vector<float> bias = values(name + ".bias", {num_outputs});
      product.bias.insert(product.bias.end(), bias.begin(), bias.end());
    }
    const auto fill = [&](int64_t first, int64_t count, float* out) {
      for (int64_t row = first; row < first + count; row++, out += num_inputs)
        dequantize_rows(views[static_cast<size_t>(row / num_outputs)], row % num_outputs, 1,
                        std::span(out, static_cast<size_t>(num_inputs)));
    };
    const auto rows = static_cast<int64_t>(names.size()) * num_outputs;
    product.matrix = std::make_unique<Matrix>(products_, rows, num_inputs, fill);
    return product;
  }

 private:
  const SafetensorsFile& file_;
  Products& products_;
  std::string prefix_;
};

BertLayer load_layer(const Loader& load, const BertConfig& config, int64_t index) {
  const std::string layer = "encoder.layer." + std::to_string(index) + ".";
  const std::string self = layer + "attention.self.";
  const int64_t hidden = config.hidden_size;
  return {
      .qkv = load.product({self + "query", self + "key", self + "value"}, hidden, hidden),
      .attention_out = load.product({layer + "attention.output.dense"}, hidden, hidden),
      .attention_norm = load.norm(layer + "attention.output.LayerNorm", hidden),
      .up = load.product({layer + "intermediate.dense"}, config.ffn_size, hidden),
      .down = load.product({layer + "output.dense"}, hidden, config.ffn_size),
      .ffn_norm = load.norm(layer + "output.LayerNorm", hidden),
  };
}

}  // namespace

BertWeights load_bert_weights(const SafetensorsFile& file, const BertConfig& config,
                              Products& products) {
  const Loader load(file, products);
  const int64_t hidden = config.hidden_size;
  BertWeights weights;
  weights.words = load.tensor("embeddings.word_embeddings.weight", {config.vocab_size, hidden});
  weights.positions =
      load.values("embeddings.position_embeddings.weight", {config.num_positions, hidden});
  weights.type = load.values("embeddings.token_type_embeddings.weight", {config.num_types, hidden});
  weights.type.resize(static_cast<size_t>(hidden));
  weights.embedding_norm = load.norm("embeddings.LayerNorm", hidden);
  for (int64_t layer = 0; layer < config.num_layers; layer++)
    weights.layers.push_back(load_layer(load, config, layer));
  return weights;
}

}  // namespace pagoda::engine

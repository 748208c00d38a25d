// See random_model.h.
#include "tests/engine/random_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

constexpr double kEpsilon = 1e-6;
constexpr double kPi = 3.14159265358979323846;
constexpr double kLowFactor = 1, kHighFactor = 4;
constexpr int kOriginalContext = 64;

std::string layer_name(int layer, const std::string& name) {
  return "model.layers." + std::to_string(layer) + "." + name;
}

}  // namespace

RandomModel::RandomModel(const RandomModelSpec& spec, uint32_t seed) : spec_(spec) {
  const int q = spec.num_heads * spec.head_dim, kv = spec.num_kv_heads * spec.head_dim;
  const double narrow = 1 / std::sqrt(spec.hidden);
  add("model.embed_tokens.weight", {spec.vocab, spec.hidden}, 0, 1, seed++);
  if (!spec.tied_embeddings) add("lm_head.weight", {spec.vocab, spec.hidden}, 0, narrow, seed++);
  add("model.norm.weight", {spec.hidden}, 1, 0.2, seed++);
  for (int i = 0; i < spec.num_layers; i++) {
    const auto in_layer = [&](const std::string& name, std::vector<int> shape, double mean,
                              double spread) {
      add(layer_name(i, name), std::move(shape), mean, spread, seed++);
    };
    in_layer("input_layernorm.weight", {spec.hidden}, 1, 0.2);
    in_layer("post_attention_layernorm.weight", {spec.hidden}, 1, 0.2);
    in_layer("self_attn.q_proj.weight", {q, spec.hidden}, 0, 2 * narrow);
    in_layer("self_attn.k_proj.weight", {kv, spec.hidden}, 0, 2 * narrow);
    in_layer("self_attn.v_proj.weight", {kv, spec.hidden}, 0, narrow);
    in_layer("self_attn.o_proj.weight", {spec.hidden, q}, 0, narrow);
    in_layer("mlp.gate_proj.weight", {spec.ffn, spec.hidden}, 0, narrow);
    in_layer("mlp.up_proj.weight", {spec.ffn, spec.hidden}, 0, narrow);
    in_layer("mlp.down_proj.weight", {spec.hidden, spec.ffn}, 0, narrow);
    if (spec.qkv_bias) {
      in_layer("self_attn.q_proj.bias", {q}, 0, 0.5);
      in_layer("self_attn.k_proj.bias", {kv}, 0, 0.5);
      in_layer("self_attn.v_proj.bias", {kv}, 0, 0.5);
    }
    if (spec.qk_norm) {
      in_layer("self_attn.q_norm.weight", {spec.head_dim}, 1.5, 0.3);
      in_layer("self_attn.k_norm.weight", {spec.head_dim}, 1.5, 0.3);
    }
  }
}

void RandomModel::add(const std::string& name, std::vector<int> shape, double mean, double spread,
                      uint32_t seed) {
  std::mt19937 random(seed * 7919 + 1);
  std::normal_distribution<float> number(static_cast<float>(mean), static_cast<float>(spread));
  int size = 1;
  for (int dim : shape) size *= dim;
  Weight& weight = weights_[name];
  weight.shape = std::move(shape);
  for (int i = 0; i < size; i++) weight.values.push_back(number(random));
}

std::string RandomModel::config() const {
  const std::map<std::string, std::string> classes = {{"llama", "LlamaForCausalLM"},
                                                      {"mistral", "MistralForCausalLM"},
                                                      {"qwen2", "Qwen2ForCausalLM"},
                                                      {"qwen3", "Qwen3ForCausalLM"}};
  nlohmann::ordered_json config = {{"architectures", {classes.at(spec_.model_type)}},
                                   {"model_type", spec_.model_type},
                                   {"hidden_size", spec_.hidden},
                                   {"intermediate_size", spec_.ffn},
                                   {"num_hidden_layers", spec_.num_layers},
                                   {"num_attention_heads", spec_.num_heads},
                                   {"num_key_value_heads", spec_.num_kv_heads},
                                   {"head_dim", spec_.head_dim},
                                   {"vocab_size", spec_.vocab},
                                   {"max_position_embeddings", 512},
                                   {"rms_norm_eps", kEpsilon},
                                   {"rope_theta", spec_.theta},
                                   {"hidden_act", "silu"},
                                   {"tie_word_embeddings", spec_.tied_embeddings},
                                   {"torch_dtype", "float32"}};
  if (spec_.llama3_factor > 0)
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", spec_.llama3_factor},
                              {"low_freq_factor", kLowFactor},
                              {"high_freq_factor", kHighFactor},
                              {"original_max_position_embeddings", kOriginalContext}};
  if (!spec_.windows.empty()) {
    config["sliding_window"] = *std::max_element(spec_.windows.begin(), spec_.windows.end());
    config["use_sliding_window"] = true;
    auto& types = config["layer_types"] = nlohmann::ordered_json::array();
    for (int window : spec_.windows)
      types.push_back(window > 0 ? "sliding_attention" : "full_attention");
  }
  return config.dump();
}

void RandomModel::write(const std::filesystem::path& folder) const {
  nlohmann::ordered_json directory;
  std::string data;
  for (const auto& [name, weight] : weights_) {
    const size_t begin = data.size();
    for (float value : weight.values) data += raw(value);
    directory[name] = {
        {"dtype", "F32"}, {"shape", weight.shape}, {"data_offsets", {begin, data.size()}}};
  }
  write_file(folder / "config.json", config());
  write_file(folder / "model.safetensors", safetensors_bytes(directory.dump(), data));
}

RandomModel::Vector RandomModel::product(const std::string& name, const Vector& in) const {
  const Weight& weight = weights_.at(name + ".weight");
  const auto bias = weights_.find(name + ".bias");
  Vector out(static_cast<size_t>(weight.shape[0]));
  for (size_t row = 0; row < out.size(); row++) {
    double sum = bias == weights_.end() ? 0 : bias->second.values[row];
    for (size_t i = 0; i < in.size(); i++) sum += weight.values[row * in.size() + i] * in[i];
    out[row] = sum;
  }
  return out;
}

RandomModel::Vector RandomModel::normed(const std::string& name, const Vector& in) const {
  const Weight& weight = weights_.at(name);
  double squares = 0;
  for (double x : in) squares += x * x;
  const double root = std::sqrt(squares / static_cast<double>(in.size()) + kEpsilon);
  Vector out(in.size());
  for (size_t i = 0; i < in.size(); i++) out[i] = in[i] / root * weight.values[i];
  return out;
}

// Llama 3.1's rule: waves longer than the original context are stretched by the factor, those
// shorter than a quarter of it stay, and between the two the share changes linearly.
double RandomModel::frequency(int pair) const {
  const double plain = std::pow(spec_.theta, -2.0 * pair / spec_.head_dim);
  if (spec_.llama3_factor == 0) return plain;
  const double wave = 2 * kPi / plain;
  if (wave > kOriginalContext / kLowFactor) return plain / spec_.llama3_factor;
  if (wave < kOriginalContext / kHighFactor) return plain;
  const double smooth = (kOriginalContext / wave - kLowFactor) / (kHighFactor - kLowFactor);
  return (1 - smooth) * plain / spec_.llama3_factor + smooth * plain;
}

void RandomModel::rotate(double* head, int position) const {
  const int half = spec_.head_dim / 2;
  for (int i = 0; i < half; i++) {
    const double angle = position * frequency(i);
    const double a = head[i], b = head[i + half];
    head[i] = a * std::cos(angle) - b * std::sin(angle);
    head[i + half] = b * std::cos(angle) + a * std::sin(angle);
  }
}

RandomModel::Vector RandomModel::attend(int layer, const Vector& query,
                                        const std::vector<Vector>& keys,
                                        const std::vector<Vector>& values) const {
  const auto dim = static_cast<size_t>(spec_.head_dim);
  const auto window = spec_.windows.empty() ? 0 : spec_.windows[static_cast<size_t>(layer)];
  const auto last = static_cast<int>(keys.size()) - 1;
  const int first = window > 0 ? std::max(0, last - window + 1) : 0;
  Vector out(query.size(), 0.0);
  for (size_t head = 0; head < static_cast<size_t>(spec_.num_heads); head++) {
    const size_t kv = head / static_cast<size_t>(spec_.num_heads / spec_.num_kv_heads);
    double total = 0;
    for (int j = first; j <= last; j++) {
      double dot = 0;
      for (size_t e = 0; e < dim; e++)
        dot += query[head * dim + e] * keys[static_cast<size_t>(j)][kv * dim + e];
      const double weight = std::exp(dot / std::sqrt(static_cast<double>(dim)));
      total += weight;
      for (size_t e = 0; e < dim; e++)
        out[head * dim + e] += weight * values[static_cast<size_t>(j)][kv * dim + e];
    }
    for (size_t e = 0; e < dim; e++) out[head * dim + e] /= total;
  }
  return out;
}

std::vector<std::vector<double>> RandomModel::logits(const std::vector<int32_t>& tokens) const {
  const auto num_layers = static_cast<size_t>(spec_.num_layers);
  const int dim = spec_.head_dim;
  std::vector<std::vector<Vector>> keys(num_layers), values(num_layers);
  std::vector<Vector> all;
  for (size_t t = 0; t < tokens.size(); t++) {
    const float* row =
        weights_.at("model.embed_tokens.weight").values.data() + tokens[t] * spec_.hidden;
    Vector x(row, row + spec_.hidden);
    const auto add_to_x = [&x](const Vector& more) {
      for (size_t i = 0; i < x.size(); i++) x[i] += more[i];
    };
    for (int layer = 0; layer < spec_.num_layers; layer++) {
      const auto in_layer = [layer](const std::string& name) { return layer_name(layer, name); };
      const Vector h = normed(in_layer("input_layernorm.weight"), x);
      Vector query = product(in_layer("self_attn.q_proj"), h);
      Vector key = product(in_layer("self_attn.k_proj"), h);
      const auto finish_heads = [&](Vector& heads, const std::string& norm) {
        for (size_t head = 0; head < heads.size(); head += static_cast<size_t>(dim)) {
          Vector one(heads.data() + head, heads.data() + head + dim);
          if (spec_.qk_norm) one = normed(in_layer(norm), one);
          rotate(one.data(), static_cast<int>(t));
          std::copy(one.begin(), one.end(), heads.data() + head);
        }
      };
      finish_heads(query, "self_attn.q_norm.weight");
      finish_heads(key, "self_attn.k_norm.weight");
      const auto l = static_cast<size_t>(layer);
      keys[l].push_back(key);
      values[l].push_back(product(in_layer("self_attn.v_proj"), h));
      add_to_x(product(in_layer("self_attn.o_proj"), attend(layer, query, keys[l], values[l])));
      const Vector g = normed(in_layer("post_attention_layernorm.weight"), x);
      Vector gate = product(in_layer("mlp.gate_proj"), g);
      const Vector up = product(in_layer("mlp.up_proj"), g);
      for (size_t i = 0; i < gate.size(); i++) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
      add_to_x(product(in_layer("mlp.down_proj"), gate));
    }
    const Vector last = normed("model.norm.weight", x);
    all.push_back(product(spec_.tied_embeddings ? "model.embed_tokens" : "lm_head", last));
  }
  return all;
}

}  // namespace pagoda::engine

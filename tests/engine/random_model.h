// Decoders with random weights, in the form of a Hugging Face folder, and what they compute by the
// formulas: in double, one token at a time over all tokens before it, sharing no code with the
// engine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace pagoda::engine {

struct RandomModelSpec {
  std::string model_type = "llama";  // "llama", "mistral", "qwen2", "qwen3"
  int num_layers = 3, hidden = 48, ffn = 56, num_heads = 6, num_kv_heads = 2, head_dim = 8;
  int vocab = 80;
  double theta = 10000.0;
  bool qkv_bias = false;
  bool qk_norm = false;
  bool tied_embeddings = false;
  std::vector<int> windows;  // [num_layers]; 0: none. Empty: none in any layer
  double llama3_factor = 0;  // 0: no scaling of frequencies
};

class RandomModel {
 public:
  RandomModel(const RandomModelSpec& spec, uint32_t seed);

  void write(const std::filesystem::path& folder) const;

  // [tokens.size()][vocab]: what follows each token.
  std::vector<std::vector<double>> logits(const std::vector<int32_t>& tokens) const;

 private:
  using Vector = std::vector<double>;
  struct Weight {
    std::vector<int> shape;  // rows, columns; or size
    std::vector<float> values;
  };

  void add(const std::string& name, std::vector<int> shape, double mean, double spread,
           uint32_t seed);
  Vector product(const std::string& name, const Vector& in) const;
  Vector normed(const std::string& name, const Vector& in) const;
  void rotate(double* head, int position) const;
  double frequency(int pair) const;
  Vector attend(int layer, const Vector& query, const std::vector<Vector>& keys,
                const std::vector<Vector>& values) const;
  std::string config() const;

  RandomModelSpec spec_;
  std::map<std::string, Weight> weights_;  // by Hugging Face's names
};

}  // namespace pagoda::engine

// What a decoder model is, in numbers: read from GGUF metadata or from a config.json, checked,
// and brought to one form. Differences between families are data here (biases, norms on queries and
// keys, layers without rotation, windows), so that one forward pass serves all of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pagoda::engine {

enum class Architecture { kLlama, kQwen2, kQwen3, kSmolLm3 };

const char* name_of(Architecture architecture);

// Which elements of a head form the rotated pairs.
enum class RopeStyle {
  kInterleaved,  // (0, 1), (2, 3), ...; GGUF files of the llama family store q and k rows for this
  kHalves,       // (0, d/2), (1, d/2 + 1), ...; safetensors of all families, GGUF of qwen
};

// Pair i of a token at position p turns by p * theta^(-2i / num_dims) / frequency_factors[i];
// cosine and sine are multiplied by `magnitude`. Linear, llama3 and YaRN scaling are all of this
// form, so the loader folds them into the factors.
struct RopeConfig {
  RopeStyle style = RopeStyle::kHalves;
  int64_t num_dims = 0;  // even, <= head_dim; elements beyond are not rotated
  double theta = 10000.0;
  std::vector<float> frequency_factors;  // [num_dims / 2], or empty: all 1
  float magnitude = 1.0f;
};

struct LayerConfig {
  int64_t sliding_window = 0;  // keys a query sees, itself included; 0: all
  bool use_rope = true;        // false in layers without position encoding (SmolLM3)
};

struct SpecialTokens {
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::vector<int32_t> stop;  // every id that ends a generation: eos, end of turn, end of message
  bool add_bos = false;       // whether encoding starts with bos
  bool add_eos = false;       // whether encoding ends with eos
};

struct ModelConfig {
  std::string name;  // as the file says; may be empty
  Architecture architecture = Architecture::kLlama;
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t ffn_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;
  int64_t vocab_size = 0;      // rows of the embedding
  int64_t context_length = 0;  // tokens the model was trained for
  float norm_epsilon = 1e-5f;
  bool tied_embeddings = false;  // the output matrix is the embedding; output.weight is absent
  bool qk_norm = false;          // blk.N.attn_q_norm.weight and attn_k_norm.weight, both [head_dim]
  bool qkv_bias = false;         // blk.N.attn_{q,k,v}.bias
  bool output_bias = false;      // blk.N.attn_output.bias
  RopeConfig rope;
  std::vector<LayerConfig> layers;  // [num_layers]
  SpecialTokens special;
};

}  // namespace pagoda::engine

// See tensor_names.h.
#include "engine/formats/tensor_names.h"

#include <algorithm>

namespace pagoda::engine {
namespace {

struct NamePair {
  std::string_view hugging_face;
  std::string_view gguf;
};

constexpr NamePair kModelNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

constexpr std::string_view kLayerPrefix = "model.layers.";

constexpr NamePair kLayerNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
};

void add_layer(std::vector<ExpectedTensor>& tensors, const ModelConfig& c, int64_t layer) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const int64_t q_size = c.num_heads * c.head_dim;
  const int64_t kv_size = c.num_kv_heads * c.head_dim;
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    tensors.push_back({prefix + name, std::move(shape)});
  };
  add("attn_norm.weight", {c.hidden_size});
  add("attn_q.weight", {q_size, c.hidden_size});
  add("attn_k.weight", {kv_size, c.hidden_size});
  add("attn_v.weight", {kv_size, c.hidden_size});
  add("attn_output.weight", {c.hidden_size, q_size});
  if (c.qkv_bias) {
    add("attn_q.bias", {q_size});
    add("attn_k.bias", {kv_size});
    add("attn_v.bias", {kv_size});
  }
  if (c.output_bias) add("attn_output.bias", {c.hidden_size});
  if (c.qk_norm) {
    add("attn_q_norm.weight", {c.head_dim});
    add("attn_k_norm.weight", {c.head_dim});
  }
  add("ffn_norm.weight", {c.hidden_size});
  add("ffn_gate.weight", {c.ffn_size, c.hidden_size});
  add("ffn_up.weight", {c.ffn_size, c.hidden_size});
  add("ffn_down.weight", {c.hidden_size, c.ffn_size});
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors;
  tensors.push_back({"token_embd.weight", {config.vocab_size, config.hidden_size}});
  tensors.push_back({"output_norm.weight", {config.hidden_size}});
  if (!config.tied_embeddings)
    tensors.push_back({"output.weight", {config.vocab_size, config.hidden_size}});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) add_layer(tensors, config, layer);
  return tensors;
}

std::string gguf_name_of(std::string_view name) {
  for (const NamePair& pair : kModelNames)
    if (name == pair.hugging_face) return std::string(pair.gguf);
  if (!name.starts_with(kLayerPrefix)) return "";
  name.remove_prefix(kLayerPrefix.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos) return "";
  const std::string_view layer = name.substr(0, dot);
  if (!std::all_of(layer.begin(), layer.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return "";
  for (const NamePair& pair : kLayerNames)
    if (name.substr(dot + 1) == pair.hugging_face)
      return "blk." + std::string(layer) + "." + std::string(pair.gguf);
  return "";
}

bool is_ignorable_tensor(std::string_view name) {
  return name == "rope_freqs.weight" ||              // read into RopeConfig
         name.ends_with(".attn_rot_embd.weight") ||  // precomputed angles of old converters
         name.ends_with(".rotary_emb.inv_freq");     // the same in safetensors
}

}  // namespace pagoda::engine

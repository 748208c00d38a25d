// One view over the two formats a model comes in: a GGUF file, or a Hugging Face folder with
// config.json, tokenizer.json and safetensors. Tensors carry GGUF's names in both cases:
//
//   token_embd.weight        [vocab_size, hidden_size]
//   output_norm.weight       [hidden_size]
//   output.weight            [vocab_size, hidden_size]              absent when tied_embeddings
//   blk.N.attn_norm.weight   [hidden_size]
//   blk.N.attn_q.weight      [num_heads * head_dim, hidden_size]    .bias [num_heads * head_dim]
//   blk.N.attn_k.weight      [num_kv_heads * head_dim, hidden_size] .bias likewise; attn_v too
//   blk.N.attn_q_norm.weight [head_dim]                             attn_k_norm too, when qk_norm
//   blk.N.attn_output.weight [hidden_size, num_heads * head_dim]
//   blk.N.ffn_norm.weight    [hidden_size]
//   blk.N.ffn_gate.weight    [ffn_size, hidden_size]                ffn_up too
//   blk.N.ffn_down.weight    [hidden_size, ffn_size]
//
// A matrix [rows, columns] maps a vector of `columns` elements to one of `rows`.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/model_config.h"
#include "engine/formats/tensor_view.h"

namespace pagoda::engine {

class GgufFile;

class ModelFile {
 public:
  // A .gguf file, a .safetensors file beside its config.json, or the folder that holds them.
  // Everything is checked here: after open, every tensor listed above exists with that shape.
  // Errors: kNotFound, kIo, kWrongFileType, kTruncated, kMalformed, kLimit, kUnsupported.
  static ModelFile open(const std::filesystem::path& path);

  ~ModelFile();
  ModelFile(ModelFile&&) noexcept;
  ModelFile& operator=(ModelFile&&) noexcept;

  const ModelConfig& config() const;

  // The chat template's source; empty when the file carries none.
  const std::string& chat_template() const;

  bool has_tensor(std::string_view name) const;

  // Errors: kNotFound; kTruncated when the file has shrunk since it was opened.
  TensorView tensor(std::string_view name) const;

  std::vector<std::string> tensor_names() const;  // in file order
  int64_t tensor_bytes() const;                   // all tensors together, as stored

  // Where the tokenizer comes from: exactly one of the two is set.
  const GgufFile* gguf() const;                 // nullptr for a folder
  const std::filesystem::path& folder() const;  // empty for a GGUF file

 private:
  struct State;
  explicit ModelFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace pagoda::engine

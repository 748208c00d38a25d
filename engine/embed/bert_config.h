// What a BERT encoder for sentences is, in numbers, from the JSON files of its folder.
#pragma once

#include <cstdint>
#include <filesystem>

namespace pagoda::engine {

struct BertConfig {
  int64_t num_layers = 0;
  int64_t hidden_size = 0;  // divided among the heads
  int64_t ffn_size = 0;
  int64_t num_heads = 0;
  int64_t vocab_size = 0;
  int64_t num_positions = 0;  // rows of the position embedding
  int64_t num_types = 0;      // rows of the token type embedding
  int64_t max_tokens = 0;     // of a text, special tokens included; longer ones are cut
  float norm_epsilon = 1e-12f;

  int64_t head_dim() const { return hidden_size / num_heads; }
};

// From config.json, and sentence_bert_config.json and 1_Pooling/config.json where they exist.
// Errors: kNotFound, kMalformed, kLimit, kUnsupported: another model, another activation, another
// pooling than the mean.
BertConfig read_bert_config(const std::filesystem::path& folder);

}  // namespace pagoda::engine

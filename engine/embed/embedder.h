// Sentence embeddings by a BERT encoder. Its attention is a plan without a cache: keys and values
// come with the call, every token of a text sees all of them, and texts are packed into one batch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

struct EmbedderOptions {
  int num_threads = 0;             // 0: all usable cores
  std::string backend = "cpu";     // one whose memory is the host's: cpu or reference
  std::string isa;                 // of attention; empty: the best of the machine
  int32_t max_step_tokens = 1024;  // packed into one forward pass; at least one text is
};

struct Embedding {
  std::vector<float> values;  // [hidden_size], of length 1
  int32_t num_tokens = 0;     // computed, the special ones included
  bool is_cut = false;        // the text had more
};

class Embedder {
 public:
  // A folder with config.json, tokenizer.json and safetensors.
  // Errors: those of the readers; pagoda::Error where no kernel serves the model.
  explicit Embedder(const std::filesystem::path& folder, const EmbedderOptions& options = {});
  ~Embedder();

  const Tokenizer& tokenizer() const;
  int64_t hidden_size() const;
  std::string describe() const;  // the plan, as text

  // The mean of the tokens' last hidden states, divided by its length. A text gets the same bits
  // alone and among others.
  std::vector<Embedding> embed(std::span<const std::string> texts);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The cosine of the angle between two embeddings of length 1.
double similarity(const Embedding& a, const Embedding& b);

}  // namespace pagoda::engine

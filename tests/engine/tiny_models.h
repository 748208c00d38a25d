// The smallest models that the readers accept, in both formats, as things to take apart in tests:
// two layers, two heads over one key-value head, head_dim 4.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/engine/gguf_writer.h"

namespace pagoda::engine {

inline constexpr int kTinyLayers = 2, kTinyHidden = 8, kTinyFfn = 12, kTinyVocab = 270;

// A llama model with a SentencePiece vocabulary: <unk>, <s>, </s>, 256 bytes and 11 pieces.
GgufWriter tiny_gguf();

// The same weights as a Hugging Face folder, tokenizer included.
struct TinyFolder {
  nlohmann::ordered_json config;
  nlohmann::ordered_json tokenizer;
  nlohmann::ordered_json tokenizer_config;
  nlohmann::ordered_json directory;         // of model.safetensors
  std::string data;                         // of model.safetensors
  std::map<std::string, std::string> more;  // further files, by name; replaces those above

  TinyFolder();
  std::string safetensors() const;
  void write(const std::filesystem::path& folder) const;
};

// A length and a directory, whatever they say.
std::string safetensors_bytes(const std::string& directory, const std::string& data);

// Values of a tensor of both models, made from its name: no two tensors are equal.
std::vector<float> tiny_values(const std::string& gguf_name, size_t count);

// A folder of its own for a test, emptied first.
std::filesystem::path test_folder(const std::string& name);

void write_file(const std::filesystem::path& path, const std::string& bytes);

}  // namespace pagoda::engine

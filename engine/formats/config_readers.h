// From what a file says about its model to a ModelConfig. Both readers end in check_config, so that
// numbers from a file are in range before anything is computed or allocated from them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "engine/formats/gguf.h"
#include "engine/formats/model_config.h"

namespace pagoda::engine {

// The bos, eos and stop ids that the metadata names.
SpecialTokens read_gguf_special_tokens(const GgufFile& file);

// Errors: kNotFound for a missing key, kMalformed, kLimit, kUnsupported.
ModelConfig read_gguf_config(const GgufFile& file);

// From config.json, and generation_config.json and tokenizer_config.json where they exist.
// What only the tensors show (biases) is left for add_biases.
ModelConfig read_folder_config(const std::filesystem::path& folder);

// From the same files, as far as they exist; what the names of tokens say is left to the tokenizer.
SpecialTokens read_folder_special_tokens(const std::filesystem::path& folder);

// The chat template of a folder; empty when there is none.
std::string read_folder_chat_template(const std::filesystem::path& folder);

// Sets the bias flags from the presence of layer 0's tensors, under GGUF names.
void add_biases(ModelConfig& config, const std::function<bool(std::string_view)>& has_tensor);

// Errors: kMalformed for numbers that contradict each other, kLimit for absurd ones.
void check_config(const ModelConfig& config, const std::string& where);

}  // namespace pagoda::engine

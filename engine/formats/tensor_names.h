// The tensors a model of a given configuration consists of, and the names that Hugging Face's
// files have for them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/model_config.h"

namespace pagoda::engine {

struct ExpectedTensor {
  std::string name;  // GGUF's, as listed in model_file.h
  std::vector<int64_t> shape;
};

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

// "model.layers.7.mlp.up_proj.weight" -> "blk.7.ffn_up.weight"; empty for a name that has no
// counterpart.
std::string gguf_name_of(std::string_view hugging_face_name);

// Tensors that files carry although the forward pass does not read them.
bool is_ignorable_tensor(std::string_view gguf_name);

}  // namespace pagoda::engine

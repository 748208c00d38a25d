// A text in windows of tokens that a model reads alone: what perplexity and calibration go by.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/model/decoder.h"
#include "tools/pagoda/model_options.h"

namespace pagoda::cli {

struct TextWindows {
  std::string file;
  int32_t window = 512;
  int64_t max_tokens = 0;  // of the text; 0: all
};

void add_text_options(CLI::App& command, TextWindows& text, const std::string& flag);

// Errors: kNotFound; kInvalidArgument for a text of fewer than 2 tokens.
std::vector<int32_t> tokens_of(const TextWindows& text, const LoadedModel& model);

// For a decoder that reads windows one by one. Errors: kInvalidArgument for windows too small.
engine::DecoderOptions decoder_options(const ModelOptions& model, const TextWindows& text);

// Called with the logits [vocab_size] before each token but a window's first.
using UseLogits = std::function<void(std::span<const float> logits, int32_t token)>;

// Reads every window, on the same pages, with a bar. Without `use` no logits are computed.
void read_windows(engine::Decoder& decoder, const TextWindows& text,
                  std::span<const int32_t> tokens, const UseLogits& use);

}  // namespace pagoda::cli

// What a user asks for, and its way to token ids: as a chat, or as raw text to go on with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/chat/chat.h"
#include "engine/runner.h"
#include "tools/pagoda/model_options.h"

namespace pagoda::cli {

struct Prompt {
  std::string text;
  engine::GenerationOptions options;
};

struct ChatChoice {
  bool chat = false;   // insist on the model's template
  bool raw = false;    // never use it; neither: use it if there is one
  std::string system;  // message in front; empty: what the template says
};

// A prompt per line. A line that is a JSON object has "prompt", and may have max_tokens,
// temperature, top_k, top_p, min_p, repetition_penalty, seed, stop and ignore_eos of its own.
// Errors: kNotFound, kMalformed with the line's number.
std::vector<Prompt> read_prompts(const std::filesystem::path& path,
                                 const engine::GenerationOptions& defaults);

class PromptEncoder {
 public:
  // `model` outlives the encoder. Errors: kInvalidArgument if chat was insisted on without a
  // template.
  PromptEncoder(const LoadedModel& model, const ChatChoice& choice);
  ~PromptEncoder();

  std::vector<int32_t> encode(const std::string& text) const;
  bool is_chat() const { return chat_ != nullptr; }

 private:
  const LoadedModel& model_;
  std::string system_;
  std::unique_ptr<engine::ChatTemplate> chat_;  // null: raw
};

struct EncodedPrompt {
  std::vector<int32_t> tokens;
  engine::GenerationOptions options;  // max_tokens cut to what the model's context has room for
};

// Errors: kInvalidArgument for a prompt that is longer than the context.
std::vector<EncodedPrompt> encode_prompts(const std::vector<Prompt>& prompts,
                                          const PromptEncoder& encoder, const LoadedModel& model);

// Tokens of prompt and output together.
int32_t longest_sequence(const std::vector<EncodedPrompt>& prompts);

// --max-tokens, --temperature, ... --ignore-eos
void add_generation_options(CLI::App& command, engine::GenerationOptions& options);

// --chat, --raw, --system
void add_chat_options(CLI::App& command, ChatChoice& choice);

}  // namespace pagoda::cli

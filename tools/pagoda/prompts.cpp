#include "tools/pagoda/prompts.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"

namespace pagoda::cli {
namespace {

using engine::ErrorKind;
using engine::require;
using Json = nlohmann::json;

template <class T>
void read_field(const Json& object, const char* name, T& value) {
  if (const auto field = object.find(name); field != object.end()) field->get_to(value);
}

Prompt prompt_of(const Json& object, const engine::GenerationOptions& defaults) {
  Prompt prompt = {.text = object.at("prompt").get<std::string>(), .options = defaults};
  engine::SamplingOptions& sampling = prompt.options.sampling;
  read_field(object, "max_tokens", prompt.options.max_tokens);
  read_field(object, "temperature", sampling.temperature);
  read_field(object, "top_k", sampling.top_k);
  read_field(object, "top_p", sampling.top_p);
  read_field(object, "min_p", sampling.min_p);
  read_field(object, "repetition_penalty", sampling.repetition_penalty);
  read_field(object, "seed", sampling.seed);
  read_field(object, "stop", prompt.options.stop);
  read_field(object, "ignore_eos", prompt.options.ignore_eos);
  return prompt;
}

}  // namespace

std::vector<Prompt> read_prompts(const std::filesystem::path& path,
                                 const engine::GenerationOptions& defaults) {
  std::ifstream file(path);
  require(file.good(), ErrorKind::kNotFound, "the prompts file ", path.string(), " cannot be read");
  std::vector<Prompt> prompts;
  std::string line;
  for (int number = 1; std::getline(file, line); number++) {
    if (line.empty()) continue;
    if (line.front() != '{') {
      prompts.push_back({.text = line, .options = defaults});
      continue;
    }
    try {
      prompts.push_back(prompt_of(Json::parse(line), defaults));
    } catch (const Json::exception& error) {
      engine::fail(ErrorKind::kMalformed, path.string(), ", line ", number, ": ", error.what());
    }
  }
  require(!prompts.empty(), ErrorKind::kMalformed, path.string(), " holds no prompts");
  return prompts;
}

PromptEncoder::PromptEncoder(const LoadedModel& model, const ChatChoice& choice)
    : model_(model), system_(choice.system) {
  const std::string& source = model.file.chat_template();
  require(!choice.chat || !source.empty(), ErrorKind::kInvalidArgument,
          "--chat was given, but the model carries no chat template; leave it out, or give --raw");
  if (!choice.raw && !source.empty()) chat_ = std::make_unique<engine::ChatTemplate>(source);
  require(chat_ || system_.empty(), ErrorKind::kInvalidArgument,
          "--system needs a chat, and this is raw text");
}

PromptEncoder::~PromptEncoder() = default;

std::vector<int32_t> PromptEncoder::encode(const std::string& text) const {
  const engine::Tokenizer& tokenizer = model_.tokenizer;
  if (!chat_) return tokenizer.encode(text);
  const auto text_of = [&](std::optional<engine::TokenId> id) {
    return id ? std::string(tokenizer.piece(*id)) : std::string();
  };
  std::vector<engine::ChatMessage> messages;
  if (!system_.empty()) messages.push_back({.role = "system", .content = system_});
  messages.push_back({.role = "user", .content = text});
  const std::string rendered = chat_->render(
      messages, {.bos_token = text_of(tokenizer.bos()), .eos_token = text_of(tokenizer.eos())});
  // The template writes what special tokens there are.
  return tokenizer.encode(rendered, {.add_special = false, .parse_special = true});
}

namespace {

EncodedPrompt encode(const Prompt& prompt, const PromptEncoder& encoder, int64_t context) {
  EncodedPrompt encoded = {.tokens = encoder.encode(prompt.text), .options = prompt.options};
  const auto room = context - static_cast<int64_t>(encoded.tokens.size());
  require(room > 0, ErrorKind::kInvalidArgument, "the prompt has ", encoded.tokens.size(),
          " tokens, the model's context only ", context);
  encoded.options.max_tokens =
      static_cast<int32_t>(std::min<int64_t>(encoded.options.max_tokens, room));
  encoded.options.at_text_start = prompt.text.empty() && !encoder.is_chat();
  return encoded;
}

}  // namespace

std::vector<EncodedPrompt> encode_prompts(const std::vector<Prompt>& prompts,
                                          const PromptEncoder& encoder, const LoadedModel& model) {
  std::vector<EncodedPrompt> encoded;
  encoded.reserve(prompts.size());
  for (const Prompt& prompt : prompts)
    encoded.push_back(encode(prompt, encoder, model.file.config().context_length));
  return encoded;
}

int32_t longest_sequence(const std::vector<EncodedPrompt>& prompts) {
  int32_t longest = 0;
  for (const EncodedPrompt& prompt : prompts)
    longest =
        std::max(longest, static_cast<int32_t>(prompt.tokens.size()) + prompt.options.max_tokens);
  return longest;
}

void add_generation_options(CLI::App& command, engine::GenerationOptions& options) {
  engine::SamplingOptions& sampling = options.sampling;
  command.add_option("--max-tokens", options.max_tokens, "to generate, at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command.add_option("--temperature", sampling.temperature, "0: the most probable token each time")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "draw from this many tokens; 0: all")
      ->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "draw from the fewest tokens of this probability")
      ->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "draw from tokens of this share of the best one's")
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "above 1: tokens that occurred become less probable")
      ->capture_default_str();
  command.add_option("--seed", sampling.seed, "of the draws")->capture_default_str();
  command
      .add_option("--logprobs", sampling.num_logprobs,
                  "with --json: so many most probable tokens at each place")
      ->check(CLI::Range(0, 1000));
  command.add_option("--stop", options.stop, "end before this text; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", options.ignore_eos, "do not end at the model's end token");
}

void add_chat_options(CLI::App& command, ChatChoice& choice) {
  auto* chat = command.add_flag("--chat", choice.chat,
                                "insist on the model's chat template (used if there is one)");
  command.add_flag("--raw", choice.raw, "go on with the text, without a chat template")
      ->excludes(chat);
  command.add_option("--system", choice.system, "the chat's system message");
}

}  // namespace pagoda::cli

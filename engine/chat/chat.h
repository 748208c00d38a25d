// Chat templates: the part of Jinja that model vendors' templates use, rendered as the Hugging Face
// libraries render them (trim_blocks and lstrip_blocks on, tojson without HTML escapes).
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::engine {

using Json = nlohmann::ordered_json;

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

struct ChatOptions {
  bool add_generation_prompt = true;  // end with the opening of the assistant's turn
  std::string bos_token;              // text of the special tokens, where the template writes them
  std::string eos_token;
  Json tools = nullptr;         // an array of tool descriptions, or null
  Json extra = Json::object();  // further variables, e.g. {"enable_thinking": false}
  // What strftime_now formats. Without it that function is not defined, and templates write a date
  // of their own, so that renderings do not change from day to day.
  std::optional<std::tm> now;
};

class ChatTemplate {
 public:
  // Errors: kTemplate with line and column for what is no Jinja or not in the supported part;
  // kLimit for a source that is too long or too deeply nested.
  explicit ChatTemplate(std::string_view source);

  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  std::string render(const std::vector<ChatMessage>& messages,
                     const ChatOptions& options = {}) const;

  // With messages in their full form (tool calls, parts): an array of objects.
  std::string render(const Json& messages, const ChatOptions& options = {}) const;

  // The template over any variables: an object.
  // Errors: kTemplate, also for raise_exception; kLimit for too many steps or too long an output.
  std::string render_variables(const Json& variables,
                               const std::optional<std::tm>& now = std::nullopt) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pagoda::engine

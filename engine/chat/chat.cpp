// See chat.h.
#include "engine/chat/chat.h"

#include "engine/chat/parser.h"
#include "engine/chat/renderer.h"
#include "engine/error.h"

namespace pagoda::engine {

struct ChatTemplate::State {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source)
    : state_(std::make_unique<State>(State{jinja::parse_template(source)})) {}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                 const ChatOptions& options) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    Json object;
    object["role"] = message.role;
    object["content"] = message.content;
    list.push_back(std::move(object));
  }
  return render(list, options);
}

std::string ChatTemplate::render(const Json& messages, const ChatOptions& options) const {
  require(messages.is_array(), ErrorKind::kInvalidArgument, "a conversation is a list of messages");
  for (const Json& message : messages)
    require(message.is_object() && message.contains("role"), ErrorKind::kInvalidArgument,
            "a message is an object with a role");
  Json variables = options.extra;
  require(variables.is_object(), ErrorKind::kInvalidArgument,
          "the further variables of a template are an object");
  variables["messages"] = messages;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  variables["bos_token"] = options.bos_token;
  variables["eos_token"] = options.eos_token;
  // Templates ask both whether there are tools and whether the name is defined at all, so without
  // tools it is none, as the Hugging Face libraries have it.
  variables["tools"] = options.tools;
  variables["documents"] = nullptr;
  return render_variables(variables, options.now);
}

std::string ChatTemplate::render_variables(const Json& variables,
                                           const std::optional<std::tm>& now) const {
  require(variables.is_object(), ErrorKind::kInvalidArgument,
          "the variables of a template are an object");
  return jinja::render(state_->body, jinja::value_of_json(variables).as_dict(), now);
}

}  // namespace pagoda::engine

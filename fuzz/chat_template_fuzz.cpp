// A chat template of any bytes, rendered over a conversation with tools. Whatever the bytes are: a
// text, or an error of the kinds that templates have; within the limits of time and memory.
#include <string_view>

#include "engine/chat/chat.h"
#include "engine/error.h"

namespace {

namespace engine = pagoda::engine;

const engine::Json& messages() {
  static const engine::Json list = engine::Json::parse(R"([
    {"role": "system", "content": " Be brief.\n"},
    {"role": "user", "content": "Gr\u00fc\u00dfe <tag> \"quoted\""},
    {"role": "assistant", "content": "", "tool_calls": [
      {"function": {"name": "f", "arguments": {"a": [1, 2.5, null, true]}}}]},
    {"role": "tool", "content": "42"}])");
  return list;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  engine::ChatOptions options;
  options.tools = engine::Json::parse(R"([{"function": {"name": "f", "parameters": {}}}])");
  try {
    engine::ChatTemplate(source).render(messages(), options);
  } catch (const engine::Error& error) {
    const bool expected =
        error.kind() == engine::ErrorKind::kTemplate || error.kind() == engine::ErrorKind::kLimit;
    if (!expected) __builtin_trap();
  }
  return 0;
}

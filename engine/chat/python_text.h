// Text as Python has it: white space and case of Unicode, positions in characters, and the two
// written forms of a value, str() and json.dumps().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/value.h"

namespace pagoda::engine::jinja {

// Without white space, or without the given characters, at one end or both.
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
std::string_view strip_left(std::string_view text, std::string_view characters);
std::string_view strip_right(std::string_view text, std::string_view characters);

std::vector<std::string_view> characters_of(std::string_view text);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);  // "hello World" -> "Hello world"
std::string title(std::string_view text);       // "hello World" -> "Hello World"

std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        int64_t at_most = -1);

// str(value); of an undefined value nothing.
std::string text_of(const Value& value);

// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: on one line.
// Errors: std::string naming a type that JSON does not have, by way of kTemplate.
std::string json_of(const Value& value, int indent = -1);

}  // namespace pagoda::engine::jinja

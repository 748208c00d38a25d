// UTF-8 as bytes: how long a character is, and whether it is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pagoda::engine {

enum class Utf8State { kComplete, kIncomplete, kInvalid };

struct Utf8Character {
  Utf8State state;
  size_t length;  // complete: of the character; incomplete: of all that is left; invalid: 1
};

// The character at the front of a text that is not empty. Incomplete: the text ends inside a
// sequence that could still become valid. Surrogates and overlong forms are invalid (RFC 3629).
Utf8Character first_character(std::string_view text);

// The longest prefix of whole, valid characters.
size_t valid_prefix_length(std::string_view text);

// The code point of the complete character at the front.
uint32_t first_code_point(std::string_view text);

void append_code_point(std::string& text, uint32_t code_point);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace pagoda::engine

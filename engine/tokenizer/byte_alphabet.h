// GPT-2's way of writing bytes as printable characters, so that a vocabulary of byte strings can be
// kept in a text file: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up
// (a space is written U+0120).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pagoda::engine {

// The bytes that `text` stands for; nothing when it holds a character outside the alphabet.
std::optional<std::string> bytes_from_alphabet(std::string_view text);

// The character that stands for a byte, in UTF-8.
std::string alphabet_character(uint8_t byte);

}  // namespace pagoda::engine

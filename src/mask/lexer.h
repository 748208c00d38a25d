// The words of the mask language: numbers, names, symbols, each with its place in the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pagoda::mask {

enum class TokenKind : uint8_t { end, number, name, symbol, invalid };

struct Token {
  TokenKind kind = TokenKind::end;
  size_t at = 0;  // byte offset
  std::string_view text;

  bool is(std::string_view symbol) const {
    return (kind == TokenKind::symbol || kind == TokenKind::name) && text == symbol;
  }
};

// The token at or after `at`. A byte that begins no token gives `invalid` with that one byte.
Token next_token(std::string_view text, size_t at);

// As an error names it: "'&&'", "the end of the text".
std::string describe(const Token& token);

}  // namespace pagoda::mask

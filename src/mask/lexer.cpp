#include "lexer.h"

#include <array>

namespace pagoda::mask {
namespace {

// <cctype> asks the locale; the language does not.
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

char char_at(std::string_view text, size_t at) {
  return at < text.size() ? text[at] : '\0';
}

size_t end_of_digits(std::string_view text, size_t at) {
  while (is_digit(char_at(text, at))) ++at;
  return at;
}

size_t end_of_number(std::string_view text, size_t at) {
  at = end_of_digits(text, at);
  if (char_at(text, at) == '.') at = end_of_digits(text, at + 1);
  if (char_at(text, at) != 'e' && char_at(text, at) != 'E') return at;
  const char sign = char_at(text, at + 1);
  const size_t digits = at + (sign == '+' || sign == '-' ? 2 : 1);
  return is_digit(char_at(text, digits)) ? end_of_digits(text, digits) : at;
}

size_t length_of_symbol(std::string_view rest) {
  constexpr std::array<std::string_view, 7> kLong = {"&&", "||", "==", "!=", "<=", ">=", "//"};
  for (std::string_view symbol : kLong)
    if (rest.starts_with(symbol)) return 2;
  return std::string_view("+-*/%<>!?:()[],").find(rest[0]) != std::string_view::npos ? 1 : 0;
}

}  // namespace

Token next_token(std::string_view text, size_t at) {
  while (is_space(char_at(text, at))) ++at;
  if (at >= text.size()) return {TokenKind::end, text.size(), {}};
  const bool fraction = text[at] == '.' && is_digit(char_at(text, at + 1));
  if (is_digit(text[at]) || fraction)
    return {TokenKind::number, at, text.substr(at, end_of_number(text, at) - at)};
  if (is_letter(text[at])) {
    size_t end = at;
    while (is_letter(char_at(text, end)) || is_digit(char_at(text, end))) ++end;
    return {TokenKind::name, at, text.substr(at, end - at)};
  }
  const size_t length = length_of_symbol(text.substr(at));
  if (length > 0) return {TokenKind::symbol, at, text.substr(at, length)};
  return {TokenKind::invalid, at, text.substr(at, 1)};
}

std::string describe(const Token& token) {
  if (token.kind == TokenKind::end) return "the end of the text";
  const char c = token.text[0];
  if (token.kind != TokenKind::invalid || (c >= ' ' && c <= '~'))
    return std::string("'").append(token.text.substr(0, 40)) + "'";
  constexpr char kHex[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return std::string("the byte 0x") + kHex[byte >> 4] + kHex[byte & 15];
}

}  // namespace pagoda::mask

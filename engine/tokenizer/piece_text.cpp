// See piece_text.h.
#include "engine/tokenizer/piece_text.h"

#include <charconv>

#include "engine/error.h"
#include "engine/formats/quoted.h"
#include "engine/tokenizer/byte_alphabet.h"

namespace pagoda::engine {

std::string bytes_or_text(std::string_view piece) {
  return bytes_from_alphabet(piece).value_or(std::string(piece));
}

std::string with_spaces(std::string_view text) {
  std::string spaced;
  while (!text.empty()) {
    const size_t sign = text.find(kSpaceSign);
    spaced += text.substr(0, sign);
    if (sign == std::string_view::npos) break;
    spaced += ' ';
    text.remove_prefix(sign + kSpaceSign.size());
  }
  return spaced;
}

int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with('>')) return -1;
  int byte = -1;
  const char* end = piece.data() + 5;
  const auto [stop, error] = std::from_chars(piece.data() + 3, end, byte, 16);
  return error == std::errc() && stop == end && byte >= 0 ? byte : -1;
}

std::string sentence_piece_bytes(std::string_view piece, TokenKind kind, const std::string& where) {
  if (kind == TokenKind::kControl || kind == TokenKind::kUnknown) return std::string(piece);
  if (kind != TokenKind::kByte) return with_spaces(piece);
  const int byte = byte_of_piece(piece);
  require(byte >= 0, ErrorKind::kMalformed, where, ": the byte token ", quoted(piece),
          " does not name a byte");
  return std::string(1, static_cast<char>(byte));
}

}  // namespace pagoda::engine

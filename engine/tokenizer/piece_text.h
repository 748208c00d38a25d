// How vocabularies write the bytes of a token.
#pragma once

#include <string>
#include <string_view>

#include "engine/tokenizer/vocabulary.h"

namespace pagoda::engine {

inline constexpr std::string_view kSpaceSign = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// A piece of a byte-level vocabulary; text outside GPT-2's alphabet is taken as it is.
std::string bytes_or_text(std::string_view piece);

// `text` with every U+2581 as a space.
std::string with_spaces(std::string_view text);

// A piece of a SentencePiece vocabulary: U+2581 is a space, and "<0x0A>" of kind kByte is a byte.
// Errors: kMalformed for a byte token of another form; `where` begins the sentence.
std::string sentence_piece_bytes(std::string_view piece, TokenKind kind, const std::string& where);

// The byte that "<0x0A>" stands for, or -1.
int byte_of_piece(std::string_view piece);

}  // namespace pagoda::engine

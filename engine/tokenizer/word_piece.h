// WordPiece, BERT's tokenizer: text is cleaned, lower-cased and cut at spaces and punctuation; a
// word is then the longest token at its beginning, the longest that goes on with the rest, and so
// on. A word that does not come out is one unknown token.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/vocabulary.h"

namespace pagoda::engine {

struct WordPieceOptions {
  bool clean_text = true;        // control characters go, white space becomes spaces
  bool split_ideographs = true;  // Chinese characters are words of their own
  bool strip_accents = true;
  bool lowercase = true;
  std::string continuing = "##";      // in front of tokens that go on with a word
  int32_t max_word_characters = 100;  // longer words are unknown
};

class WordPieceModel {
 public:
  // The vocabulary must outlive the model and not move.
  WordPieceModel(const Vocabulary& vocabulary, WordPieceOptions options, TokenId unknown);

  // Appends the tokens of a text without special tokens. Bytes that are no UTF-8 are left out.
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

  // Whether this token goes on with the word before it, in text without the sign for that.
  bool continues(std::string_view& piece) const;

  // The text as the vocabulary sees it: one word after the other, each followed by a space.
  std::string normalize(std::string_view text) const;

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;

  const Vocabulary* vocabulary_;
  WordPieceOptions options_;
  TokenId unknown_;
};

}  // namespace pagoda::engine

// SentencePiece-BPE: a text is its characters, with U+2581 for the space, and neighbours are joined
// when what they make is a token: the one with the best score first, or, where the vocabulary
// comes with a list of merges, the earliest merge. What stays without a token is spelt in bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/byte_pair.h"
#include "engine/tokenizer/merge_symbols.h"
#include "engine/tokenizer/vocabulary.h"
#include "engine/tokenizer/word_cache.h"

namespace pagoda::engine {

// Where encoding puts a space that is not in the text, so that words at the start of a text have
// the same tokens as elsewhere.
enum class SpacePrefix { kNever, kFirstFragment, kEveryFragment };

class SentencePieceModel {
 public:
  // One of the two orders of merging is given. The vocabulary holds plain spaces for U+2581; it
  // must outlive the model and not move.
  //   scores  [vocabulary.size()]
  SentencePieceModel(const Vocabulary& vocabulary, std::vector<float> scores,
                     std::optional<PairTable> merges, SpacePrefix prefix,
                     std::optional<TokenId> unknown);

  // Appends the tokens of a text between special tokens; `is_first`: nothing comes before it.
  void encode(std::string_view text, bool is_first, std::vector<TokenId>& ids) const;

  SpacePrefix prefix() const { return prefix_; }

 private:
  void encode_words(std::string_view text, std::vector<TokenId>& ids) const;
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;
  std::optional<Join> find_join(std::string_view word, const Symbol& left,
                                const Symbol& right) const;
  void append_bytes(std::string_view text, std::vector<TokenId>& ids) const;

  const Vocabulary* vocabulary_;
  std::vector<float> scores_;  // [vocabulary size], or empty when merges_ is there
  std::optional<PairTable> merges_;
  SpacePrefix prefix_;
  bool words_are_apart_ = false;          // no token holds a space behind something else
  std::array<TokenId, 256> byte_tokens_;  // -1: the vocabulary lacks this byte
  std::optional<TokenId> unknown_;
  WordCache cache_;
};

}  // namespace pagoda::engine

// Byte-level BPE: a word is its bytes, and pairs of neighbours are joined in the order in which
// training joined them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/tokenizer/merge_symbols.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/vocabulary.h"
#include "engine/tokenizer/word_cache.h"

namespace pagoda::engine {

// (left id, right id) -> rank and joined id. Open addressing; a vocabulary has 10^5 pairs.
class PairTable {
 public:
  explicit PairTable(size_t num_pairs);

  // The first rank of a pair counts.
  void insert(TokenId left, TokenId right, TokenId joined, int32_t rank);

  std::optional<Join> find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    uint64_t key = kFree;
    TokenId joined = -1;
    int32_t rank = 0;
  };
  static constexpr uint64_t kFree = ~uint64_t{0};

  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;
};

struct BytePairOptions {
  bool normalize_nfc = false;     // compose characters first (Qwen)
  bool whole_words = false;       // a word that is a token needs no merging (Llama 3)
  bool add_prefix_space = false;  // a text that does not begin with a space gets one
};

class BytePairModel {
 public:
  // The vocabulary must outlive the model and not move.
  BytePairModel(const Vocabulary& vocabulary, PairTable pairs, PreTokenizer pre_tokenizer,
                BytePairOptions options, std::optional<TokenId> unknown);

  // Appends the tokens of a text without special tokens.
  void encode(std::string_view text, std::vector<TokenId>& ids) const;

 private:
  void encode_words(std::string_view text, std::vector<TokenId>& ids) const;
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;

  const Vocabulary* vocabulary_;
  PairTable pairs_;
  PreTokenizer pre_tokenizer_;
  BytePairOptions options_;
  std::array<TokenId, 256> byte_tokens_;  // -1: the vocabulary lacks this byte
  std::optional<TokenId> unknown_;
  WordCache cache_;
};

}  // namespace pagoda::engine

// The tokens of a vocabulary: the bytes each stands for, what kind it is, and which id a byte
// string has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

// In the order of GGUF's numbers, which begin with 1.
enum class TokenKind : uint8_t {
  kNormal,
  kUnknown,  // stands for what the vocabulary cannot express
  kControl,  // structure, not text: <s>, <|im_end|>
  kUser,     // text that is never split, such as <tool_call>
  kUnused,
  kByte,  // one byte, for what has no token of its own
};

class Vocabulary {
 public:
  // Ids are given in order of addition.
  void add(std::string_view bytes, TokenKind kind);
  // After the last add. Among equal byte strings the first normal one is found.
  void finish();

  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < size(); }
  std::string_view bytes(TokenId id) const {
    const Token& token = tokens_[static_cast<size_t>(id)];
    return std::string_view(text_).substr(token.begin, token.length);
  }
  TokenKind kind(TokenId id) const { return tokens_[static_cast<size_t>(id)].kind; }

  // The normal or user-defined token with these bytes, or -1.
  TokenId find(std::string_view bytes) const;

 private:
  struct Token {
    size_t begin;
    uint32_t length;
    TokenKind kind;
  };

  std::string text_;  // the bytes of all tokens, one after the other
  std::vector<Token> tokens_;
  std::vector<TokenId> slots_;  // hash table with linear probing; -1: free
};

}  // namespace pagoda::engine

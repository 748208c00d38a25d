// Texts of the expression language for mask_fuzz: random ones, and changes of a text by whole
// tokens and whole expressions. Bytes alone rarely get past the parser; these mostly do, and so
// reach what lies behind it. Nothing here need be right: what is not an expression is a test of the
// parser.
#pragma once

#include <cstdint>
#include <string>

#include "../src/mask/lexer.h"

namespace pagoda::fuzz {

class MaskGrammar {
 public:
  explicit MaskGrammar(uint32_t seed) : state_(seed * uint64_t{0x9e3779b97f4a7c15} + 1) {}

  // Mostly over the names that mask_fuzz declares.
  std::string text(bool is_score);
  std::string changed(const std::string& text, bool is_score);

  uint32_t below(uint32_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>((state_ >> 33) % bound);
  }

 private:
  std::string boolean(int depth);
  std::string integer(int depth);
  std::string real(int depth);
  std::string number();
  std::string any(int depth);
  std::string joined(const std::string& text);  // with another expression
  std::string like(mask::TokenKind kind);       // something in place of such a token

  uint64_t state_;
  bool is_score_ = false;
};

}  // namespace pagoda::fuzz

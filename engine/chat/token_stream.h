// The tokens of a template as both halves of the parser read them, with the depth of nesting.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/chat/lexer.h"
#include "engine/chat/parser.h"

namespace pagoda::engine::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  Token take() {  // the last token, kEnd, is never passed
    const Token& token = tokens_[position_];
    if (token.type != TokenType::kEnd) ++position_;
    return token;
  }

  bool is_operator(std::string_view text) const { return current().is(TokenType::kOperator, text); }
  bool is_name(std::string_view text) const { return current().is(TokenType::kName, text); }
  bool skip_operator(std::string_view text) {
    const bool found = is_operator(text);
    if (found) take();
    return found;
  }
  bool skip_name(std::string_view text) {
    const bool found = is_name(text);
    if (found) take();
    return found;
  }

  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail_here("'" + std::string(text) + "' is missing");
  }
  void expect_name(std::string_view text) {
    if (!skip_name(text)) fail_here("'" + std::string(text) + "' is missing");
  }
  std::string take_any_name() {
    if (current().type != TokenType::kName) fail_here("a name is missing");
    return take().text;
  }
  void expect(TokenType type, const char* what) {
    if (current().type != type) fail_here(std::string(what) + " is missing");
    take();
  }

  [[noreturn]] void fail_here(const std::string& sentence) const {
    fail_at(current().place, sentence);
  }

  // Held while something nested is parsed.
  class Deeper {
   public:
    explicit Deeper(TokenStream& stream) : stream_(stream) {
      if (++stream_.depth_ <= kMaxTemplateDepth) return;
      --stream_.depth_;
      fail(ErrorKind::kLimit, "chat template, line ", stream_.current().place.line,
           ": nested deeper than ", kMaxTemplateDepth, " levels");
    }
    ~Deeper() { --stream_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
};

// The expression at the stream's position, of the lowest precedence; `with_condition`: "a if b" may
// follow (in "for x in items if x" it belongs to the loop).
ExpressionPtr parse_expression(TokenStream& stream, bool with_condition = true);

// What may stand behind "set x =", "in" and in "{{ }}": an expression, or several with commas,
// which make a list.
ExpressionPtr parse_expression_list(TokenStream& stream, bool with_condition = true);

}  // namespace pagoda::engine::jinja

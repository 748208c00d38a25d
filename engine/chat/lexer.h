// A template's source as tokens: text between tags, and names, literals and operators inside them.
// The white space rules are Jinja's with trim_blocks and lstrip_blocks: a line end behind a block
// tag and blanks in front of one on its line belong to the tag.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/syntax.h"

namespace pagoda::engine::jinja {

enum class TokenType {
  kText,         // outside of tags; never empty
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kName,
  kString,  // with its escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd,  // of the template
};

struct Token {
  TokenType type;
  std::string text;
  Place place;

  bool is(TokenType wanted, std::string_view wanted_text) const {
    return type == wanted && text == wanted_text;
  }
};

// Ends with a kEnd token. Errors: kTemplate for an unclosed tag, string or comment, an unknown
// character, or brackets that do not match.
std::vector<Token> tokenize(std::string_view source);

}  // namespace pagoda::engine::jinja

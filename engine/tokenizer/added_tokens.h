// Tokens that are found in a text before anything else looks at it: control tokens such as
// <|im_end|>, and text that is never split, such as <tool_call>.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

struct AddedToken {
  std::string text;
  TokenId id = -1;
  bool is_control = false;   // found only when special tokens are parsed
  bool strip_left = false;   // takes the white space in front with it
  bool strip_right = false;  // and behind
};

class AddedTokens {
 public:
  void add(AddedToken token);
  void finish();  // after the last add

  std::optional<TokenId> find(std::string_view text) const;

  // Cuts `text` at the tokens in it, the leftmost and then the longest first, and calls one of the
  // two for each part in order.
  void split(std::string_view text, bool parse_control,
             const std::function<void(std::string_view)>& use_text,
             const std::function<void(TokenId)>& use_token) const;

 private:
  const AddedToken* match_at(std::string_view text, bool parse_control) const;

  std::vector<AddedToken> tokens_;                   // the longest first
  std::array<std::vector<uint32_t>, 256> by_first_;  // indices into tokens_, the longest first
};

}  // namespace pagoda::engine

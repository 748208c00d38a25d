// See added_tokens.h.
#include "engine/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

namespace pagoda::engine {

void AddedTokens::add(AddedToken token) {
  if (!token.text.empty()) tokens_.push_back(std::move(token));
}

void AddedTokens::finish() {
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.text.size() > b.text.size();
  });
  for (size_t i = 0; i < tokens_.size(); ++i)
    by_first_[static_cast<uint8_t>(tokens_[i].text.front())].push_back(static_cast<uint32_t>(i));
}

std::optional<TokenId> AddedTokens::find(std::string_view text) const {
  for (const AddedToken& token : tokens_)
    if (token.text == text) return token.id;
  return std::nullopt;
}

const AddedToken* AddedTokens::match_at(std::string_view text, bool parse_control) const {
  for (uint32_t i : by_first_[static_cast<uint8_t>(text.front())])
    if ((parse_control || !tokens_[i].is_control) && text.starts_with(tokens_[i].text))
      return &tokens_[i];
  return nullptr;
}

void AddedTokens::split(std::string_view text, bool parse_control,
                        const std::function<void(std::string_view)>& use_text,
                        const std::function<void(TokenId)>& use_token) const {
  constexpr std::string_view white_space = " \t\n\v\f\r";
  size_t begin = 0;  // of the text not yet given out
  size_t at = 0;
  while (at < text.size()) {
    const AddedToken* token = match_at(text.substr(at), parse_control);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::string_view before = text.substr(begin, at - begin);
    if (token->strip_left) before = before.substr(0, before.find_last_not_of(white_space) + 1);
    if (!before.empty()) use_text(before);
    use_token(token->id);
    at += token->text.size();
    if (token->strip_right) at = std::min(text.find_first_not_of(white_space, at), text.size());
    begin = at;
  }
  if (begin < text.size()) use_text(text.substr(begin));
}

}  // namespace pagoda::engine

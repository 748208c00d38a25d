// StreamDecoder: whole characters out of tokens that may end inside one.
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(&tokenizer), options_(options) {}

std::string StreamDecoder::add(TokenId id) {
  held_ += tokenizer_->decode({&id, 1}, options_);
  if (!tokenizer_->is_special(id)) options_.at_text_start = false;
  std::string text;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Utf8Character character = first_character(rest);
    if (character.state == Utf8State::kIncomplete) break;
    text += character.state == Utf8State::kComplete ? rest.substr(0, character.length)
                                                    : kReplacementCharacter;
    rest.remove_prefix(character.length);
  }
  held_.erase(0, held_.size() - rest.size());
  return text;
}

std::string StreamDecoder::finish() {
  const bool incomplete = !held_.empty();
  held_.clear();
  return incomplete ? std::string(kReplacementCharacter) : std::string();
}

}  // namespace pagoda::engine

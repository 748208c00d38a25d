// See sentence_piece.h. Inside, text and tokens have plain spaces: U+2581 is a matter of the files.
#include "engine/tokenizer/sentence_piece.h"

#include <utility>

#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {
namespace {

// Whether some token has a space behind another character, so that merges can cross from one word
// into the next.
bool any_token_crosses_words(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenKind kind = vocabulary.kind(id);
    if (kind != TokenKind::kNormal && kind != TokenKind::kUser) continue;
    const std::string_view bytes = vocabulary.bytes(id);
    const size_t word = bytes.find_first_not_of(' ');
    if (word != std::string_view::npos && bytes.find(' ', word) != std::string_view::npos)
      return true;
  }
  return false;
}

}  // namespace

SentencePieceModel::SentencePieceModel(const Vocabulary& vocabulary, std::vector<float> scores,
                                       std::optional<PairTable> merges, SpacePrefix prefix,
                                       std::optional<TokenId> unknown)
    : vocabulary_(&vocabulary),
      scores_(std::move(scores)),
      merges_(std::move(merges)),
      prefix_(prefix),
      words_are_apart_(!any_token_crosses_words(vocabulary)),
      unknown_(unknown) {
  byte_tokens_.fill(-1);
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    if (vocabulary.kind(id) == TokenKind::kByte)
      byte_tokens_[static_cast<uint8_t>(vocabulary.bytes(id).front())] = id;
}

void SentencePieceModel::encode(std::string_view text, bool is_first,
                                std::vector<TokenId>& ids) const {
  if (text.empty()) return;
  const bool prefixed = prefix_ == SpacePrefix::kEveryFragment ||
                        (prefix_ == SpacePrefix::kFirstFragment && is_first);
  if (!prefixed) return encode_words(text, ids);
  std::string spaced(" ");
  spaced += text;
  encode_words(spaced, ids);
}

void SentencePieceModel::encode_words(std::string_view text, std::vector<TokenId>& ids) const {
  if (!words_are_apart_) return encode_word(text, ids);
  while (!text.empty()) {  // a word is spaces and what follows up to the next space
    const size_t body = text.find_first_not_of(' ');
    const size_t end = body == std::string_view::npos ? body : text.find(' ', body);
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(word.size());
    if (cache_.append_cached(word, ids)) continue;
    const size_t first = ids.size();
    encode_word(word, ids);
    cache_.store(word, ids.data() + first, ids.data() + ids.size());
  }
}

std::optional<Join> SentencePieceModel::find_join(std::string_view word, const Symbol& left,
                                                  const Symbol& right) const {
  if (merges_) {
    if (left.id < 0 || right.id < 0) return std::nullopt;
    return merges_->find(left.id, right.id);
  }
  const TokenId id = vocabulary_->find(word.substr(left.begin, left.length + right.length));
  if (id < 0) return std::nullopt;
  return Join{.cost = -scores_[static_cast<size_t>(id)], .id = id};
}

void SentencePieceModel::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (size_t at = 0; at < word.size();) {
    const Utf8Character character = first_character(word.substr(at));
    const size_t length = character.state == Utf8State::kComplete ? character.length : 1;
    Symbol symbol;
    symbol.begin = static_cast<uint32_t>(at);
    symbol.length = static_cast<uint32_t>(length);
    symbol.id = vocabulary_->find(word.substr(at, length));
    symbols.push_back(symbol);
    at += length;
  }
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) {
    return find_join(word, left, right);
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    if (symbol.id >= 0)
      ids.push_back(symbol.id);
    else
      append_bytes(word.substr(symbol.begin, symbol.length), ids);
  }
}

void SentencePieceModel::append_bytes(std::string_view text, std::vector<TokenId>& ids) const {
  for (char c : text) {
    const TokenId id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id >= 0) {
      ids.push_back(id);
    } else if (unknown_) {  // one for the whole character
      ids.push_back(*unknown_);
      return;
    }
  }
}

}  // namespace pagoda::engine

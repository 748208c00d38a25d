// See vocabulary.h.
#include "engine/tokenizer/vocabulary.h"

#include <bit>
#include <functional>

namespace pagoda::engine {

void Vocabulary::add(std::string_view bytes, TokenKind kind) {
  tokens_.push_back(
      {.begin = text_.size(), .length = static_cast<uint32_t>(bytes.size()), .kind = kind});
  text_ += bytes;
}

void Vocabulary::finish() {
  slots_.assign(std::bit_ceil(tokens_.size() * 2 + 2), -1);
  for (TokenId id = 0; id < size(); ++id) {
    if (kind(id) != TokenKind::kNormal && kind(id) != TokenKind::kUser) continue;
    size_t slot = std::hash<std::string_view>{}(bytes(id)) & (slots_.size() - 1);
    while (slots_[slot] >= 0 && bytes(slots_[slot]) != bytes(id))
      slot = (slot + 1) & (slots_.size() - 1);
    if (slots_[slot] < 0) slots_[slot] = id;
  }
}

TokenId Vocabulary::find(std::string_view wanted) const {
  size_t slot = std::hash<std::string_view>{}(wanted) & (slots_.size() - 1);
  while (slots_[slot] >= 0 && bytes(slots_[slot]) != wanted)
    slot = (slot + 1) & (slots_.size() - 1);
  return slots_[slot];
}

}  // namespace pagoda::engine

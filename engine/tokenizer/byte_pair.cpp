// See byte_pair.h.
#include "engine/tokenizer/byte_pair.h"

#include <bit>
#include <utility>

#include "engine/tokenizer/normalize.h"

namespace pagoda::engine {
namespace {

uint64_t key_of(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

PairTable::PairTable(size_t num_pairs) : slots_(std::bit_ceil(num_pairs * 2 + 2)) {}

size_t PairTable::slot_of(uint64_t key) const {
  // Fibonacci hashing: the upper bits of the product are well mixed.
  size_t slot =
      static_cast<size_t>((key ^ key >> 29) * 0x9E3779B97F4A7C15u >> 20) & (slots_.size() - 1);
  while (slots_[slot].key != kFree && slots_[slot].key != key)
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void PairTable::insert(TokenId left, TokenId right, TokenId joined, int32_t rank) {
  const uint64_t key = key_of(left, right);
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == kFree) slot = {.key = key, .joined = joined, .rank = rank};
}

std::optional<Join> PairTable::find(TokenId left, TokenId right) const {
  const Slot& slot = slots_[slot_of(key_of(left, right))];
  if (slot.key == kFree) return std::nullopt;
  return Join{.cost = static_cast<float>(slot.rank), .id = slot.joined};
}

BytePairModel::BytePairModel(const Vocabulary& vocabulary, PairTable pairs,
                             PreTokenizer pre_tokenizer, BytePairOptions options,
                             std::optional<TokenId> unknown)
    : vocabulary_(&vocabulary),
      pairs_(std::move(pairs)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      options_(options),
      unknown_(unknown) {
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    byte_tokens_[static_cast<size_t>(byte)] = vocabulary.find({&text, 1});
  }
}

void BytePairModel::encode(std::string_view text, std::vector<TokenId>& ids) const {
  if (options_.add_prefix_space && !text.empty() && text.front() != ' ') {
    std::string spaced(" ");
    spaced += text;
    return encode_words(options_.normalize_nfc ? normalize_nfc(spaced) : spaced, ids);
  }
  if (options_.normalize_nfc && !is_surely_nfc(text)) return encode_words(normalize_nfc(text), ids);
  encode_words(text, ids);
}

void BytePairModel::encode_words(std::string_view text, std::vector<TokenId>& ids) const {
  pre_tokenizer_.split(text, [&](std::string_view word) {
    if (cache_.append_cached(word, ids)) return;
    const size_t first = ids.size();
    encode_word(word, ids);
    cache_.store(word, ids.data() + first, ids.data() + ids.size());
  });
}

void BytePairModel::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (options_.whole_words) {
    if (const TokenId id = vocabulary_->find(word); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<Symbol> symbols(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    symbols[i].begin = static_cast<uint32_t>(i);
    symbols[i].length = 1;
    symbols[i].id = byte_tokens_[static_cast<uint8_t>(word[i])];
  }
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<Join> {
    if (left.id < 0 || right.id < 0) return std::nullopt;
    return pairs_.find(left.id, right.id);
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.length == 0) continue;
    if (symbol.id >= 0)
      ids.push_back(symbol.id);
    else if (unknown_)
      ids.push_back(*unknown_);
  }
}

}  // namespace pagoda::engine

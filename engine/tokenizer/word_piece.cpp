// See word_piece.h. The rules are those of BERT's published tokenizer: Devlin et al. 2018 and the
// BertNormalizer and BertPreTokenizer of the tokenizers package.
#include "engine/tokenizer/word_piece.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "engine/error.h"
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

utf8proc_category_t category(uint32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_space(uint32_t c) {
  if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0x85) return true;
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_ZL ||
         kind == UTF8PROC_CATEGORY_ZP;
}

bool is_control(uint32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_CO || kind == UTF8PROC_CATEGORY_CS;
}

bool is_ascii_sign(uint32_t c) {
  return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
         (c >= 123 && c <= 126);
}

bool is_punctuation(uint32_t c) {
  const utf8proc_category_t kind = category(c);
  return is_ascii_sign(c) || (kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO);
}

// The planes of CJK ideographs; kana and Hangul are letters like others.
constexpr std::pair<uint32_t, uint32_t> kIdeographs[] = {
    {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
    {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};

bool is_ideograph(uint32_t c) {
  return std::any_of(std::begin(kIdeographs), std::end(kIdeographs),
                     [c](const auto& range) { return c >= range.first && c <= range.second; });
}

// Calls use(code point, bytes) for every character; bytes that are no UTF-8 are left out.
template <class Use>
void for_each_character(std::string_view text, const Use& use) {
  while (!text.empty()) {
    const Utf8Character character = first_character(text);
    if (character.state == Utf8State::kComplete)
      use(first_code_point(text), text.substr(0, character.length));
    text.remove_prefix(character.length);
  }
}

std::string decomposed(const std::string& text) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
  require(length >= 0, ErrorKind::kLimit, "a text of ", text.size(),
          " bytes cannot be normalised: ", utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(mapped), static_cast<size_t>(length)};
}

std::string without_accents(const std::string& text) {
  std::string kept;
  for_each_character(decomposed(text), [&](uint32_t c, std::string_view bytes) {
    if (category(c) != UTF8PROC_CATEGORY_MN) kept += bytes;
  });
  return kept;
}

}  // namespace

WordPieceModel::WordPieceModel(const Vocabulary& vocabulary, WordPieceOptions options,
                               TokenId unknown)
    : vocabulary_(&vocabulary), options_(std::move(options)), unknown_(unknown) {}

std::string WordPieceModel::normalize(std::string_view text) const {
  std::string clean;
  for_each_character(text, [&](uint32_t c, std::string_view bytes) {
    if (options_.clean_text && (c == 0 || c == kReplacement || is_control(c))) return;
    const bool apart = options_.split_ideographs && is_ideograph(c);
    if (apart) clean += ' ';
    if (options_.clean_text && is_space(c))
      clean += ' ';
    else
      clean += bytes;
    if (apart) clean += ' ';
  });
  if (options_.strip_accents) clean = without_accents(clean);
  std::string words;
  bool in_word = false;
  const auto end_word = [&] {
    if (std::exchange(in_word, false)) words += ' ';
  };
  for_each_character(clean, [&](uint32_t c, std::string_view) {
    if (options_.lowercase)
      c = static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    if (is_space(c)) return end_word();
    if (is_punctuation(c)) end_word();
    append_code_point(words, c);
    in_word = true;
    if (is_punctuation(c)) end_word();
  });
  end_word();
  return words;
}

void WordPieceModel::encode(std::string_view text, std::vector<TokenId>& ids) const {
  const std::string words = normalize(text);
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = words.find(' ', begin);
    encode_word(std::string_view(words).substr(begin, end - begin), ids);
    begin = end + 1;
  }
}

void WordPieceModel::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  const size_t before = ids.size();
  int32_t characters = 0;
  for_each_character(word, [&](uint32_t, std::string_view) { ++characters; });
  std::string piece;
  while (!word.empty() && characters <= options_.max_word_characters) {
    const std::string prefix = ids.size() == before ? "" : options_.continuing;
    size_t length = word.size();
    TokenId found = -1;
    for (; length > 0; --length) {
      const bool is_boundary = length == word.size() || (word[length] & 0xC0) != 0x80;
      if (!is_boundary) continue;
      found = vocabulary_->find(piece.assign(prefix).append(word.substr(0, length)));
      if (found >= 0) break;
    }
    if (found < 0) break;
    ids.push_back(found);
    word.remove_prefix(length);
  }
  if (word.empty()) return;
  ids.resize(before);
  ids.push_back(unknown_);
}

bool WordPieceModel::continues(std::string_view& piece) const {
  if (!piece.starts_with(options_.continuing)) return false;
  piece.remove_prefix(options_.continuing.size());
  return true;
}

}  // namespace pagoda::engine

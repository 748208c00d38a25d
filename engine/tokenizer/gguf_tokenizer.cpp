// A tokenizer from the tokenizer.ggml.* metadata of a GGUF file.
#include <algorithm>
#include <charconv>
#include <string>

#include "engine/error.h"
#include "engine/formats/config_readers.h"
#include "engine/formats/gguf.h"
#include "engine/formats/quoted.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/piece_text.h"
#include "engine/tokenizer/tokenizer_state.h"

namespace pagoda::engine {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;

// The metadata of one file, with every array checked against the number of tokens.
struct Source {
  const GgufFile& file;
  std::string where;
  std::vector<std::string_view> tokens;  // [vocabulary size]
  std::vector<TokenKind> kinds;          // [vocabulary size]

  explicit Source(const GgufFile& gguf);
  void read_kinds(std::vector<int64_t> numbers);
};

Source::Source(const GgufFile& gguf) : file(gguf), where(gguf.path().string()) {
  auto texts = file.find_strings("tokenizer.ggml.tokens");
  require(texts && !texts->empty(), ErrorKind::kNotFound, where,
          " has no vocabulary (metadata 'tokenizer.ggml.tokens')");
  require(texts->size() <= kMaxTokens, ErrorKind::kLimit, where, " has ", texts->size(),
          " tokens, the limit is ", kMaxTokens);
  tokens = std::move(*texts);
  kinds.assign(tokens.size(), TokenKind::kNormal);
  if (auto numbers = file.find_ints("tokenizer.ggml.token_type")) read_kinds(std::move(*numbers));
}

void Source::read_kinds(std::vector<int64_t> numbers) {
  require(numbers.size() == tokens.size(), ErrorKind::kMalformed, where, " has ", tokens.size(),
          " tokens and ", numbers.size(), " token types");
  for (size_t i = 0; i < numbers.size(); ++i) {
    require(numbers[i] >= 1 && numbers[i] <= 6, ErrorKind::kMalformed, where, ": token ", i,
            " has the type ", numbers[i], ", 1 to 6 exist");
    kinds[i] = static_cast<TokenKind>(numbers[i] - 1);
  }
}

void add_special(Tokenizer::State& state, const Source& source) {
  for (size_t i = 0; i < source.tokens.size(); ++i) {
    const TokenKind kind = source.kinds[i];
    if (kind != TokenKind::kControl && kind != TokenKind::kUser && kind != TokenKind::kUnknown)
      continue;
    state.added.add({.text = std::string(source.tokens[i]),
                     .id = static_cast<TokenId>(i),
                     .is_control = kind != TokenKind::kUser});
  }
  state.added.finish();
  state.special = read_gguf_special_tokens(source.file);
  complete_special_tokens(state.special, state.vocabulary, state.added);
  if (state.special.add_bos && state.special.bos) state.prefix = {*state.special.bos};
  if (state.special.add_eos && state.special.eos) state.suffix = {*state.special.eos};
}

std::optional<TokenId> unknown_token(const Source& source) {
  const auto id = source.file.find_int("tokenizer.ggml.unknown_token_id");
  if (!id || *id < 0 || *id >= static_cast<int64_t>(source.tokens.size())) return std::nullopt;
  return static_cast<TokenId>(*id);
}

PairTable read_merges(const Source& source, const Vocabulary& vocabulary) {
  const auto merges = source.file.find_strings("tokenizer.ggml.merges");
  require(merges.has_value(), ErrorKind::kNotFound, source.where,
          " has no merges (metadata 'tokenizer.ggml.merges')");
  PairTable pairs(merges->size());
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string_view merge = (*merges)[rank];
    const size_t space = merge.find(' ', 1);  // a piece is never empty
    require(space != std::string_view::npos, ErrorKind::kMalformed, source.where, ": merge ", rank,
            " is not two pieces with a space between them");
    const std::string left = bytes_or_text(merge.substr(0, space));
    const std::string right = bytes_or_text(merge.substr(space + 1));
    const TokenId ids[] = {vocabulary.find(left), vocabulary.find(right),
                           vocabulary.find(left + right)};
    require(*std::min_element(ids, ids + 3) >= 0, ErrorKind::kMalformed, source.where, ": merge ",
            rank, " is not of tokens and to a token of the vocabulary");
    pairs.insert(ids[0], ids[1], ids[2], static_cast<int32_t>(rank));
  }
  return pairs;
}

void read_byte_pair(Tokenizer::State& state, const Source& source) {
  for (size_t i = 0; i < source.tokens.size(); ++i)
    state.vocabulary.add(source.kinds[i] == TokenKind::kNormal ? bytes_or_text(source.tokens[i])
                                                               : std::string(source.tokens[i]),
                         source.kinds[i]);
  state.vocabulary.finish();
  const auto pre = source.file.find_string("tokenizer.ggml.pre");
  require(pre.has_value(), ErrorKind::kUnsupported, source.where,
          " does not name its pre-tokenizer (metadata 'tokenizer.ggml.pre'); convert it anew");
  const bool is_qwen = pre->find("qwen") != std::string_view::npos;
  const bool is_llama3 = pre->starts_with("llama");
  state.model.emplace<BytePairModel>(
      state.vocabulary, read_merges(source, state.vocabulary), PreTokenizer(expressions_of(*pre)),
      BytePairOptions{.normalize_nfc = is_qwen, .whole_words = is_llama3}, unknown_token(source));
}

void read_sentence_piece(Tokenizer::State& state, const Source& source) {
  auto scores = source.file.find_floats("tokenizer.ggml.scores");
  require(scores.has_value(), ErrorKind::kNotFound, source.where,
          " has no scores (metadata 'tokenizer.ggml.scores')");
  require(scores->size() == source.tokens.size(), ErrorKind::kMalformed, source.where, " has ",
          source.tokens.size(), " tokens and ", scores->size(), " scores");
  require(std::none_of(scores->begin(), scores->end(), [](float score) { return score != score; }),
          ErrorKind::kMalformed, source.where, ": a score of the vocabulary is not a number");
  for (size_t i = 0; i < source.tokens.size(); ++i)
    state.vocabulary.add(sentence_piece_bytes(source.tokens[i], source.kinds[i], source.where),
                         source.kinds[i]);
  state.vocabulary.finish();
  const bool prefixed = source.file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  state.model.emplace<SentencePieceModel>(
      state.vocabulary, std::move(*scores), std::nullopt,
      prefixed ? SpacePrefix::kEveryFragment : SpacePrefix::kNever, unknown_token(source));
}

}  // namespace

std::unique_ptr<Tokenizer::State> read_gguf_tokenizer(const GgufFile& file) {
  const Source source(file);
  const auto model = file.find_string("tokenizer.ggml.model").value_or("");
  auto state = std::make_unique<Tokenizer::State>();
  if (model == "gpt2") {
    read_byte_pair(*state, source);
  } else if (model == "llama") {
    read_sentence_piece(*state, source);
  } else {
    fail(ErrorKind::kUnsupported, source.where, " has a tokenizer of the kind ", quoted(model),
         "; gpt2 (byte-level BPE) and llama (SentencePiece) are supported");
  }
  add_special(*state, source);
  return state;
}

}  // namespace pagoda::engine

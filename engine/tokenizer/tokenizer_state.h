// What a Tokenizer consists of; filled by the two readers, from GGUF metadata and from JSON.
#pragma once

#include <filesystem>
#include <memory>
#include <variant>
#include <vector>

#include "engine/formats/model_config.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/byte_pair.h"
#include "engine/tokenizer/sentence_piece.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocabulary.h"
#include "engine/tokenizer/word_piece.h"

namespace pagoda::engine {

struct Tokenizer::State {
  Vocabulary vocabulary;
  AddedTokens added;
  SpecialTokens special;
  std::vector<TokenId> prefix;  // in front of every text that is encoded with add_special
  std::vector<TokenId> suffix;  // and behind
  std::variant<std::monostate, BytePairModel, SentencePieceModel, WordPieceModel> model;
};

std::unique_ptr<Tokenizer::State> read_gguf_tokenizer(const GgufFile& file);
std::unique_ptr<Tokenizer::State> read_json_tokenizer(const std::filesystem::path& folder);

// Adds to `special.stop` what the names of control tokens say: many files name one end token and
// their models use two. Then drops ids outside the vocabulary.
void complete_special_tokens(SpecialTokens& special, const Vocabulary& vocabulary,
                             const AddedTokens& added);

}  // namespace pagoda::engine

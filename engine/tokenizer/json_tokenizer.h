// The parts of a tokenizer.json that decide how text is cut before the vocabulary is asked.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/tokenizer/byte_pair.h"
#include "engine/tokenizer/sentence_piece.h"
#include "engine/tokenizer/word_piece.h"

namespace pagoda::engine {

struct JsonPipeline {
  bool is_sentence_piece = false;
  BytePairOptions byte_pair;                 // for a byte-level vocabulary
  std::vector<std::string> expressions;      // for a byte-level vocabulary
  SpacePrefix prefix = SpacePrefix::kNever;  // for a SentencePiece vocabulary
};

// From the members "normalizer", "pre_tokenizer" and "model" of a tokenizer.json.
// Errors: kUnsupported for a component or setting that is not known, kMalformed.
JsonPipeline read_pipeline(const nlohmann::json& root, const std::string& where);

// The same members of a tokenizer.json whose model is a WordPiece.
WordPieceOptions read_word_piece(const nlohmann::json& root, const std::string& where);

}  // namespace pagoda::engine

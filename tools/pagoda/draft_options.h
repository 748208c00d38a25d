// The flags of speculative decoding, and the draft model they name.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "tools/pagoda/model_options.h"

namespace pagoda::cli {

struct DraftFlags {
  std::string ngram;  // "ngram:SUFFIX:TOKENS", or empty
  std::string model;  // a path or the name of a pulled model, or empty
  int32_t num_tokens = 4;
};

// --draft, --draft-model, --draft-tokens
void add_draft_options(CLI::App& command, DraftFlags& flags);

// What the flags ask of a runner. The model that they name is opened into `model`, which outlives
// the runner. Errors: kInvalidArgument for a form that is not known.
engine::DraftOptions draft_options(const DraftFlags& flags, std::optional<LoadedModel>& model);

}  // namespace pagoda::cli

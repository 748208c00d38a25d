#include "tools/pagoda/draft_options.h"

#include <charconv>
#include <string_view>

#include "engine/error.h"

namespace pagoda::cli {
namespace {

// The number at the front of the text, which it leaves; -1 if there is none.
int32_t take_number(std::string_view& text) {
  int32_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc() ? value : -1;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

engine::DraftOptions parse_ngram(const std::string& given) {
  std::string_view text = given;
  engine::DraftOptions options;
  bool is_good = take(text, "ngram:");
  options.max_suffix = take_number(text);
  is_good = is_good && take(text, ":");
  options.num_tokens = take_number(text);
  is_good = is_good && text.empty() && options.max_suffix > 0 && options.num_tokens > 0;
  engine::require(is_good, engine::ErrorKind::kInvalidArgument, "--draft \"", given,
                  "\"; the form is ngram:SUFFIX:TOKENS, such as ngram:3:4");
  return options;
}

}  // namespace

void add_draft_options(CLI::App& command, DraftFlags& flags) {
  auto* ngram = command.add_option("--draft", flags.ngram,
                                   "ngram:SUFFIX:TOKENS: guess so many tokens from where the last "
                                   "SUFFIX ones stood before, and verify them in one step");
  auto* model = command
                    .add_option("--draft-model", flags.model,
                                "guess with a smaller model of the same vocabulary")
                    ->excludes(ngram);
  command.add_option("--draft-tokens", flags.num_tokens, "guessed by the draft model at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024))
      ->needs(model);
}

engine::DraftOptions draft_options(const DraftFlags& flags, std::optional<LoadedModel>& model) {
  if (!flags.ngram.empty()) return parse_ngram(flags.ngram);
  if (flags.model.empty()) return {};
  model.emplace(open_model(flags.model));
  return {.num_tokens = flags.num_tokens, .file = &model->file, .tokenizer = &model->tokenizer};
}

}  // namespace pagoda::cli

// pagoda tokenize: the tokens of a text, and the text of tokens.
#include <iostream>
#include <nlohmann/json.hpp>

#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_options.h"

namespace pagoda::cli {
namespace {

struct Flags {
  std::string model, text;
  std::vector<int32_t> ids;
  bool special = false, no_bos = false, json = false;
};

std::string quoted(std::string_view piece) {
  return nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void print_tokens(const engine::Tokenizer& tokenizer, const Flags& flags) {
  const std::vector<int32_t> ids =
      tokenizer.encode(flags.text, {.add_special = !flags.no_bos, .parse_special = flags.special});
  if (flags.json) {
    std::cout << nlohmann::json(ids).dump() << "\n";
    return;
  }
  for (int32_t id : ids) std::cout << id << "\t" << quoted(tokenizer.piece(id)) << "\n";
}

void tokenize(const Flags& flags) {
  const LoadedModel model = open_model(flags.model);
  if (flags.ids.empty())
    print_tokens(model.tokenizer, flags);
  else
    std::cout << model.tokenizer.decode(flags.ids, {.skip_special = false}) << "\n";
}

}  // namespace

void add_tokenize(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "the tokens of a text, or with --decode back");
  const auto flags = std::make_shared<Flags>();
  add_model_option(*command, flags->model);
  auto* text = command->add_option("--text", flags->text);
  auto* ids = command->add_option("--decode", flags->ids, "ids, separated by commas")
                  ->delimiter(',')
                  ->excludes(text);
  command->add_flag("--special", flags->special, "special tokens in the text count as such");
  command->add_flag("--no-bos", flags->no_bos, "leave out what the vocabulary puts in front");
  command->add_flag("--json", flags->json, "the ids as a JSON array");
  command->callback([flags, text, ids] {
    if (text->count() == 0 && ids->count() == 0) throw CLI::RequiredError("--text or --decode");
    tokenize(*flags);
  });
}

}  // namespace pagoda::cli

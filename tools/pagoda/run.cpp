// `pagoda run`: text from a model, as it comes, and a line of figures.
#include <CLI/CLI.hpp>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/error.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/draft_options.h"
#include "tools/pagoda/model_options.h"
#include "tools/pagoda/name_values.h"
#include "tools/pagoda/printer.h"
#include "tools/pagoda/processes.h"
#include "tools/pagoda/progress_bar.h"
#include "tools/pagoda/prompts.h"

namespace pagoda::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  engine::GenerationOptions generation;
  ChatChoice chat;
  DraftFlags draft;
  PrinterOptions printer;
  std::string prompt;
  std::string prompts_file;
  std::vector<std::string> mask_values;
};

std::vector<Prompt> prompts_of(const RunOptions& options) {
  if (!options.prompts_file.empty()) return read_prompts(options.prompts_file, options.generation);
  return {{.text = options.prompt, .options = options.generation}};
}

double per_second(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string figures(const engine::RunnerStats& stats, bool drafts) {
  std::ostringstream line;
  line << std::fixed << std::setprecision(1);
  line << "prompt " << stats.prompt_tokens << " tokens, "
       << per_second(stats.prompt_tokens, stats.prompt_seconds) << "/s; generated "
       << stats.generated_tokens << " tokens, "
       << per_second(stats.decode_tokens, stats.decode_seconds) << "/s; pages "
       << stats.max_used_pages << " of " << stats.num_pages << " used, " << stats.max_shared_pages
       << " shared; prefix hits " << stats.prefix_hit_tokens << " tokens; preemptions "
       << stats.scheduler.num_preemptions;
  if (drafts)
    line << "; drafts " << stats.drafted_tokens << " tokens, " << stats.accepted_tokens
         << " accepted (" << 100 * share(stats.accepted_tokens, stats.drafted_tokens) << " %)";
  return line.str();
}

std::string figures_as_json(const engine::RunnerStats& stats) {
  const nlohmann::ordered_json figures = {
      {"prompt_tokens", stats.prompt_tokens},
      {"prompt_tokens_per_second", per_second(stats.prompt_tokens, stats.prompt_seconds)},
      {"generated_tokens", stats.generated_tokens},
      {"generated_tokens_per_second", per_second(stats.decode_tokens, stats.decode_seconds)},
      {"pages", stats.num_pages},
      {"pages_used", stats.max_used_pages},
      {"pages_shared", stats.max_shared_pages},
      {"prefix_hit_tokens", stats.prefix_hit_tokens},
      {"key_bytes", stats.key_reads.bytes},
      {"key_bytes_without_cascade", stats.key_reads.bytes_flat},
      {"cascade_steps", stats.key_reads.cascade_steps},
      {"cascade_requests", stats.key_reads.max_cascade_reqs},
      {"preemptions", stats.scheduler.num_preemptions},
      {"drafted_tokens", stats.drafted_tokens},
      {"accepted_tokens", stats.accepted_tokens},
      {"accepted_share", share(stats.accepted_tokens, stats.drafted_tokens)},
      {"steps", stats.scheduler.num_steps}};
  return nlohmann::ordered_json{{"figures", figures}}.dump();
}

void run(const RunOptions& options) {
  const LoadedModel model = open_model(options.model.model);
  const std::vector<Prompt> prompts = prompts_of(options);
  std::vector<EncodedPrompt> encoded =
      encode_prompts(prompts, PromptEncoder(model, options.chat), model);
  ModelOptions model_options = options.model;
  std::optional<LoadedModel> draft_model;
  model_options.runner.draft = draft_options(options.draft, draft_model);
  const auto runner = make_runner(model, model_options, longest_sequence(encoded),
                                  static_cast<int32_t>(prompts.size()));
  Printer printer(options.printer);
  ProgressBar bar("reading", !options.model.quiet && is_first_process() && prompts.size() == 1);
  runner->on_prompt_progress = [&](int64_t computed, int64_t known) {
    bar.show(static_cast<double>(computed) / static_cast<double>(known));
  };
  runner->on_text = [&](const engine::Generation& generation, const std::string& new_text) {
    bar.clear();
    printer.text(generation, new_text);
  };
  for (size_t i = 0; i < prompts.size(); i++)
    printer.expect(runner->add(std::move(encoded[i].tokens), encoded[i].options), prompts[i].text);
  while (runner->step())
    for (const engine::Generation& done : runner->take_finished()) printer.finished(done);
  if (options.model.quiet || !is_first_process()) return;
  const std::string picture = runner->executor().mask_picture();
  if (!picture.empty()) std::cerr << picture << '\n';
  std::cerr << (options.printer.json
                    ? figures_as_json(runner->stats())
                    : figures(runner->stats(), model_options.runner.draft.num_tokens > 0))
            << '\n';
}

}  // namespace

void add_run(CLI::App& app) {
  CLI::App* command = app.add_subcommand("run", "generate text");
  const auto options = std::make_shared<RunOptions>();
  auto* prompt =
      command->add_option("--prompt", options->prompt, "what to answer, or to go on with");
  auto* file = command->add_option("--prompts-file", options->prompts_file,
                                   "a prompt per line, or JSON objects with a prompt each");
  prompt->excludes(file);
  add_model_options(*command, options->model);
  add_device_option(*command, options->model.runner.device);
  add_generation_options(*command, options->generation);
  add_chat_options(*command, options->chat);
  command->add_option("--mask", options->model.runner.mask.text,
                      "an expression that hides more keys, in every layer: \"q - k < 256\"");
  command->add_option("--set", options->mask_values, "a name that the mask uses: window=256")
      ->type_name("NAME=VALUE");
  add_draft_options(*command, options->draft);
  command->add_flag("--json", options->printer.json, "a line of JSON for each request");
  command->add_flag("--quiet", options->model.quiet, "only the text");
  command->add_flag("--token-ids", options->printer.token_ids, "token ids in place of text");
  command->callback([options, prompt, file] {
    if (prompt->count() == 0 && file->count() == 0)
      throw CLI::RequiredError("--prompt or --prompts-file");
    options->printer.quiet = options->model.quiet;
    for (NameValue& it : parse_name_values(options->mask_values))
      options->model.runner.mask.names.emplace_back(std::move(it.name), it.value);
    run(*options);
  });
}

}  // namespace pagoda::cli

// pagoda kvmap: runs some requests and draws who had which page of the cache when.
#include <fstream>
#include <iostream>
#include <sstream>

#include "engine/error.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/kvmap_svg.h"
#include "tools/pagoda/model_options.h"
#include "tools/pagoda/prompts.h"

namespace pagoda::cli {
namespace {

struct Flags {
  ModelOptions model;
  engine::GenerationOptions generation;
  ChatChoice chat;
  std::string prompts_file;
  std::string out = "kvmap.svg";
};

constexpr const char* kSubjects[] = {"a cat", "a dog", "a bird", "a boat", "the moon", "a tree"};
constexpr const char* kPlaces[] = {"in the park", "by the sea"};

// Requests that begin alike and end at different times: sharing, caching and preemption all show.
std::vector<Prompt> example_prompts(const engine::GenerationOptions& defaults) {
  std::vector<Prompt> prompts;
  for (const char* subject : kSubjects)
    for (const char* place : kPlaces) {
      Prompt& prompt = prompts.emplace_back(Prompt{.text = "", .options = defaults});
      prompt.text = "Once upon a time, there was a little girl named Lily. One day she saw ";
      prompt.text += subject;
      prompt.text += " ";
      prompt.text += place;
      prompt.options.max_tokens = static_cast<int32_t>(30 + prompts.size() * 37 % 90);
    }
  return prompts;
}

std::string subtitle_of(const engine::RunnerStats& stats, size_t num_requests, int32_t page_size) {
  std::ostringstream text;
  text << num_requests << " requests on " << stats.num_pages << " pages of " << page_size
       << " tokens; " << stats.prefix_hit_tokens << " tokens found in the prefix cache, "
       << stats.scheduler.num_preemptions << " preemptions, at most " << stats.max_shared_pages
       << " pages shared at a time";
  return text.str();
}

void draw(const Flags& flags) {
  const LoadedModel model = open_model(flags.model.model);
  const std::vector<Prompt> prompts = flags.prompts_file.empty()
                                          ? example_prompts(flags.generation)
                                          : read_prompts(flags.prompts_file, flags.generation);
  const std::vector<EncodedPrompt> encoded =
      encode_prompts(prompts, PromptEncoder(model, flags.chat), model);
  const auto runner = make_runner(model, flags.model, longest_sequence(encoded),
                                  static_cast<int32_t>(prompts.size()));
  PageHistory history;
  runner->on_step = [&](const Cache& cache, const std::vector<uint64_t>& running) {
    history.note(cache, running);
  };
  for (const EncodedPrompt& prompt : encoded) runner->add(prompt.tokens, prompt.options);
  runner->run();

  const std::string subtitle =
      subtitle_of(runner->stats(), prompts.size(), runner->executor().options().page_size);
  std::ofstream file(flags.out);
  file << draw_page_history(history, "Pages of the cache over time", subtitle);
  file.close();
  engine::require(file.good(), engine::ErrorKind::kIo, "the picture cannot be written to ",
                  flags.out);
  std::cout << flags.out << ": " << history.num_steps() << " steps; " << subtitle << "\n";
}

}  // namespace

void add_kvmap(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("kvmap", "draw the pages of a run over time: owner, shared, cached, free");
  const auto flags = std::make_shared<Flags>();
  add_model_options(*command, flags->model);
  add_generation_options(*command, flags->generation);
  add_chat_options(*command, flags->chat);
  command->add_option("--prompts-file", flags->prompts_file,
                      "as for run; without it some requests that begin alike");
  command->add_option("--out", flags->out, "the picture, SVG")->capture_default_str();
  command->callback([flags] { draw(*flags); });
}

}  // namespace pagoda::cli

// The program `pagoda`. Results go to stdout, everything else to stderr; 0 is success.
#include <iostream>
#include <new>

#include "tools/pagoda/commands.h"
#include "tools/pagoda/processes.h"
#include "tools/pagoda/suggest.h"

namespace {

using namespace pagoda::cli;

// A sentence for an argument that nobody knows, with the nearest one that is known.
std::string unknown_argument(const CLI::App& app, const std::string& argument) {
  const auto chosen = app.get_subcommands();
  const CLI::App& scope = chosen.empty() ? app : *chosen.front();
  std::vector<std::string> known;
  for (const CLI::Option* option : scope.get_options())
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  for (const CLI::App* command : scope.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  const std::string word = argument.substr(0, argument.find('='));
  const std::string near = nearest(word, known);
  return "there is no \"" + word + "\"" + (near.empty() ? "" : "; did you mean " + near + "?");
}

int report(const std::string& sentence) {
  // In one piece: several processes may have something to say.
  std::cerr << std::string("pagoda: ") + name_of_process() + sentence + "\n";
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "pagoda: attention for LLM inference over a paged KV cache, and a runner that proves it"};
  app.require_subcommand(1);
  add_run(app);
  add_bench(app);
  add_pull(app);
  add_doctor(app);
  add_explain(app);
  add_kvmap(app);
  add_mask(app);
  add_tokenize(app);
  add_perplexity(app);
  add_embed(app);
  add_support(app);
  add_calibrate(app);
  try {
    app.parse(argc, argv);
    std::cout.flush();
    return std::cout.good() ? 0 : report("the output could not be written");
  } catch (const CLI::RuntimeError& error) {
    return error.get_exit_code();  // said already
  } catch (const CLI::ParseError& error) {
    // What nobody knows comes first: a mistyped flag is also why a required one is missing.
    const std::vector<std::string> extras = app.remaining(true);
    const bool failed = error.get_exit_code() != static_cast<int>(CLI::ExitCodes::Success);
    if (failed && !extras.empty()) return report(unknown_argument(app, extras.front()));
    return app.exit(error);  // help, or a wrong value with CLI11's own sentence
  } catch (const std::bad_alloc&) {
    return report("there is not enough memory; fewer pages (--num-pages) need less");
  } catch (const std::exception& error) {
    return report(error.what());
  }
}

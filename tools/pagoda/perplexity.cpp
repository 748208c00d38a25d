// pagoda perplexity: how well a model foretells a text. The text is cut into windows that are read
// alone, each token but a window's first is foretold from those before it, and the figure is the
// exponential of the mean negative log-probability.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>

#include "tools/pagoda/commands.h"
#include "tools/pagoda/text_windows.h"

namespace pagoda::cli {
namespace {

struct Flags {
  ModelOptions model;
  TextWindows text;
};

// -ln of the probability that the logits give to `token`.
//   logits: [vocab_size]
double surprise(std::span<const float> logits, int32_t token) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum) - logits[static_cast<size_t>(token)];
}

void print_perplexity(const Flags& flags) {
  const LoadedModel model = open_model(flags.model.model);
  const std::vector<int32_t> tokens = tokens_of(flags.text, model);
  engine::Decoder decoder(model.file, decoder_options(flags.model, flags.text));
  double sum = 0;
  int64_t count = 0;
  read_windows(decoder, flags.text, tokens, [&](std::span<const float> logits, int32_t token) {
    sum += surprise(logits, token);
    count++;
  });
  std::cout << std::fixed << std::setprecision(4) << "perplexity "
            << std::exp(sum / static_cast<double>(count)) << " over " << count
            << " tokens in windows of " << flags.text.window << "\n";
}

}  // namespace

void add_perplexity(CLI::App& app) {
  CLI::App* command = app.add_subcommand("perplexity", "how well a model foretells a text");
  const auto flags = std::make_shared<Flags>();
  add_model_options(*command, flags->model);
  add_text_options(*command, flags->text, "--file");
  command->callback([flags] { print_perplexity(*flags); });
}

}  // namespace pagoda::cli

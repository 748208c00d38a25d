// pagoda perplexity: how well a model foretells a text. The text is cut into windows that are read
// alone, each token but a window's first is foretold from those before it, and the figure is the
// exponential of the mean negative log-probability.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "engine/error.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_options.h"
#include "tools/pagoda/progress_bar.h"

namespace pagoda::cli {
namespace {

struct Flags {
  ModelOptions model;
  std::string file;
  int32_t window = 512;
  int64_t max_tokens = 0;
};

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  engine::require(file.good(), engine::ErrorKind::kNotFound, "the text ", path, " cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// -ln of the probability that the logits give to `token`.
//   logits: [vocab_size]
double surprise(std::span<const float> logits, int32_t token) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - top);
  return top + std::log(sum) - logits[static_cast<size_t>(token)];
}

// Reads windows, each on the same pages.
class Reader {
 public:
  Reader(engine::Decoder& decoder, int32_t window) : decoder_(decoder) {
    const int32_t page_size = decoder.options().page_size;
    for (int32_t token = 0; token < window; token++) slots_.push_back(page_size + token);
    for (int32_t page = 1; page <= (window + page_size - 1) / page_size; page++)
      table_.push_back(page);
    groups_.assign(decoder.groups().size(),
                   {.page_table = table_.data(),
                    .page_table_stride = static_cast<int64_t>(table_.size()),
                    .slot_mapping = slots_.data()});
  }

  // The sum over all tokens but the first.
  double surprise_of(std::span<const int32_t> tokens) {
    double sum = 0;
    const auto count = static_cast<int32_t>(tokens.size());
    for (int32_t first = 0; first < count; first += decoder_.options().max_tokens)
      sum += read(tokens, first, std::min(decoder_.options().max_tokens, count - first));
    return sum;
  }

 private:
  double read(std::span<const int32_t> tokens, int32_t first, int32_t count) {
    const int32_t starts[] = {0, count}, seq_lens[] = {first + count};
    std::vector<int32_t> rows;
    for (int32_t i = 0; i < count && first + i + 1 < static_cast<int32_t>(tokens.size()); i++)
      rows.push_back(i);
    for (engine::StepBatch::Group& group : groups_) group.slot_mapping = slots_.data() + first;
    const std::span<const float> logits = decoder_.forward(
        {.tokens = tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
         .query_start_loc = starts,
         .seq_lens = seq_lens,
         .groups = groups_,
         .logit_rows = rows});
    const auto vocab = static_cast<size_t>(decoder_.config().vocab_size);
    double sum = 0;
    for (size_t i = 0; i < rows.size(); i++)
      sum += surprise(logits.subspan(i * vocab, vocab), tokens[static_cast<size_t>(first) + i + 1]);
    return sum;
  }

  engine::Decoder& decoder_;
  std::vector<int64_t> slots_;  // [window]
  std::vector<int32_t> table_;  // [pages of a window]
  std::vector<engine::StepBatch::Group> groups_;
};

engine::DecoderOptions decoder_options(const Flags& flags) {
  const engine::RunnerOptions& runner = flags.model.runner;
  engine::require(flags.window >= 2, engine::ErrorKind::kInvalidArgument, "a window of ",
                  flags.window, " tokens; at least 2 are needed");
  return {.num_threads = runner.num_threads,
          .backend = runner.backend,
          .isa = runner.isa,
          .dtype = dtype_of(flags.model.dtype),
          .page_size = runner.page_size,
          .num_pages = (flags.window + runner.page_size - 1) / runner.page_size + 1,
          .max_reqs = 1,
          .max_tokens = std::min(runner.prefill_chunk, flags.window),
          .max_seq_len = flags.window};
}

void print_perplexity(const Flags& flags) {
  const LoadedModel model = open_model(flags.model.model);
  std::vector<int32_t> tokens = model.tokenizer.encode(read_text(flags.file));
  if (flags.max_tokens > 0 && std::ssize(tokens) > flags.max_tokens)
    tokens.resize(static_cast<size_t>(flags.max_tokens));
  engine::Decoder decoder(model.file, decoder_options(flags));
  Reader reader(decoder, flags.window);
  ProgressBar bar("reading", true);
  double sum = 0;
  int64_t count = 0;
  const auto window = static_cast<size_t>(flags.window);
  for (size_t first = 0; first + 1 < tokens.size(); first += window) {
    const size_t size = std::min(window, tokens.size() - first);
    sum += reader.surprise_of(std::span(tokens).subspan(first, size));
    count += static_cast<int64_t>(size) - 1;
    bar.show(static_cast<double>(first + size) / static_cast<double>(tokens.size()));
  }
  bar.clear();
  engine::require(count > 0, engine::ErrorKind::kInvalidArgument, flags.file, " has ",
                  tokens.size(), " tokens; at least 2 are needed");
  std::cout << std::fixed << std::setprecision(4) << "perplexity "
            << std::exp(sum / static_cast<double>(count)) << " over " << count
            << " tokens in windows of " << flags.window << "\n";
}

}  // namespace

void add_perplexity(CLI::App& app) {
  CLI::App* command = app.add_subcommand("perplexity", "how well a model foretells a text");
  const auto flags = std::make_shared<Flags>();
  add_model_options(*command, flags->model);
  command->add_option("--file", flags->file, "the text")->required();
  command->add_option("--window", flags->window, "tokens that are read together")
      ->capture_default_str();
  command->add_option("--max-tokens", flags->max_tokens, "of the text; 0: all")
      ->capture_default_str();
  command->callback([flags] { print_perplexity(*flags); });
}

}  // namespace pagoda::cli

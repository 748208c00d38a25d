#include "tools/pagoda/text_windows.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "engine/error.h"
#include "tools/pagoda/progress_bar.h"

namespace pagoda::cli {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  engine::require(file.good(), engine::ErrorKind::kNotFound, "the text ", path, " cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class Reader {
 public:
  Reader(engine::Decoder& decoder, int32_t window, const UseLogits& use)
      : decoder_(decoder), use_(use) {
    const int32_t page_size = decoder.options().page_size;
    for (int32_t token = 0; token < window; token++) slots_.push_back(page_size + token);
    for (int32_t page = 1; page <= (window + page_size - 1) / page_size; page++)
      table_.push_back(page);
    groups_.assign(decoder.groups().size(),
                   {.page_table = table_.data(),
                    .page_table_stride = static_cast<int64_t>(table_.size()),
                    .slot_mapping = slots_.data()});
  }

  void read(std::span<const int32_t> tokens) {
    const auto count = static_cast<int32_t>(tokens.size());
    const int32_t most = decoder_.options().max_tokens;
    for (int32_t first = 0; first < count; first += most)
      read_part(tokens, first, std::min(most, count - first));
  }

 private:
  void read_part(std::span<const int32_t> tokens, int32_t first, int32_t count) {
    const int32_t starts[] = {0, count}, seq_lens[] = {first + count};
    const auto next = [&](int32_t i) {
      return static_cast<size_t>(first) + static_cast<size_t>(i) + 1;
    };
    std::vector<int32_t> rows;
    for (int32_t i = 0; use_ && i < count && next(i) < tokens.size(); i++) rows.push_back(i);
    for (engine::StepBatch::Group& group : groups_) group.slot_mapping = slots_.data() + first;
    const std::span<const float> logits = decoder_.forward(
        {.tokens = tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
         .query_start_loc = starts,
         .seq_lens = seq_lens,
         .groups = groups_,
         .logit_rows = rows});
    const auto vocab = static_cast<size_t>(decoder_.config().vocab_size);
    for (size_t i = 0; i < rows.size(); i++)
      use_(logits.subspan(i * vocab, vocab), tokens[next(static_cast<int32_t>(i))]);
  }

  engine::Decoder& decoder_;
  const UseLogits& use_;
  std::vector<int64_t> slots_;  // [window]
  std::vector<int32_t> table_;  // [pages of a window]
  std::vector<engine::StepBatch::Group> groups_;
};

}  // namespace

void add_text_options(CLI::App& command, TextWindows& text, const std::string& flag) {
  command.add_option(flag, text.file, "the text")->required();
  command.add_option("--window", text.window, "tokens that are read together")
      ->capture_default_str();
  command.add_option("--max-tokens", text.max_tokens, "of the text; 0: all")->capture_default_str();
}

std::vector<int32_t> tokens_of(const TextWindows& text, const LoadedModel& model) {
  std::vector<int32_t> tokens = model.tokenizer.encode(read_text(text.file));
  if (text.max_tokens > 0 && std::ssize(tokens) > text.max_tokens)
    tokens.resize(static_cast<size_t>(text.max_tokens));
  engine::require(tokens.size() >= 2, engine::ErrorKind::kInvalidArgument, text.file, " has ",
                  tokens.size(), " tokens; at least 2 are needed");
  return tokens;
}

engine::DecoderOptions decoder_options(const ModelOptions& model, const TextWindows& text) {
  const engine::RunnerOptions& runner = model.runner;
  engine::require(text.window >= 2, engine::ErrorKind::kInvalidArgument, "a window of ",
                  text.window, " tokens; at least 2 are needed");
  return {.num_threads = runner.num_threads,
          .backend = runner.backend,
          .isa = runner.isa,
          .dtype = dtype_of(model.dtype),
          .kv = kv_choice_of(model),
          .page_size = runner.page_size,
          .num_pages = (text.window + runner.page_size - 1) / runner.page_size + 1,
          .max_reqs = 1,
          .max_tokens = std::min(runner.prefill_chunk, text.window),
          .max_seq_len = text.window};
}

void read_windows(engine::Decoder& decoder, const TextWindows& text,
                  std::span<const int32_t> tokens, const UseLogits& use) {
  Reader reader(decoder, text.window, use);
  ProgressBar bar("reading", true);
  const auto window = static_cast<size_t>(text.window);
  for (size_t first = 0; first < tokens.size(); first += window) {
    const size_t size = std::min(window, tokens.size() - first);
    reader.read(tokens.subspan(first, size));
    bar.show(static_cast<double>(first + size) / static_cast<double>(tokens.size()));
  }
  bar.clear();
}

}  // namespace pagoda::cli

// Runs a decoder directly, without a scheduler: sequences on pages that the test chooses.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "engine/model/decoder.h"

namespace pagoda::engine {

// A request on pages of its own choosing, and the logits after each of its tokens.
struct Sequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;  // the same in every group
  int32_t done = 0;
  std::vector<std::vector<float>> logits;
};

// `count` page ids from `first` on, out of order.
inline std::vector<int32_t> pages_from(int32_t first, int32_t count) {
  std::vector<int32_t> pages;
  for (int32_t i = 0; i < count; i++) pages.push_back(first + (i * 7) % count);
  return pages;
}

class DecoderDriver {
 public:
  DecoderDriver(const std::filesystem::path& model, const DecoderOptions& options)
      : file_(ModelFile::open(model)), page_size_(options.page_size), decoder_(file_, options) {}

  Decoder& decoder() { return decoder_; }

  // Computes the next counts[i] tokens of sequences[i], all in one step. Their pages are as many.
  void step(const std::vector<Sequence*>& sequences, const std::vector<int32_t>& counts) {
    std::vector<int32_t> tokens, starts = {0}, seq_lens, rows, table;
    std::vector<int64_t> slots;
    for (size_t i = 0; i < sequences.size(); i++) {
      Sequence& sequence = *sequences[i];
      ASSERT_EQ(sequence.pages.size(), sequences[0]->pages.size());
      for (int32_t t = sequence.done; t < sequence.done + counts[i]; t++) {
        tokens.push_back(sequence.tokens[static_cast<size_t>(t)]);
        rows.push_back(static_cast<int32_t>(rows.size()));
        slots.push_back(int64_t{sequence.pages[static_cast<size_t>(t / page_size_)]} * page_size_ +
                        t % page_size_);
      }
      sequence.done += counts[i];
      starts.push_back(static_cast<int32_t>(tokens.size()));
      seq_lens.push_back(sequence.done);
      table.insert(table.end(), sequence.pages.begin(), sequence.pages.end());
    }
    const std::vector<StepBatch::Group> groups(
        decoder_.groups().size(),
        {.page_table = table.data(),
         .page_table_stride = static_cast<int64_t>(sequences[0]->pages.size()),
         .slot_mapping = slots.data()});
    take_logits(sequences, counts,
                decoder_.forward({.tokens = tokens,
                                  .query_start_loc = starts,
                                  .seq_lens = seq_lens,
                                  .groups = groups,
                                  .logit_rows = rows}));
  }

 private:
  void take_logits(const std::vector<Sequence*>& sequences, const std::vector<int32_t>& counts,
                   std::span<const float> logits) {
    const auto vocab = static_cast<size_t>(decoder_.config().vocab_size);
    for (size_t i = 0; i < sequences.size(); i++)
      for (int32_t t = 0; t < counts[i]; t++) {
        sequences[i]->logits.emplace_back(logits.begin(),
                                          logits.begin() + static_cast<ptrdiff_t>(vocab));
        logits = logits.subspan(vocab);
      }
  }

  ModelFile file_;
  int32_t page_size_;
  Decoder decoder_;
};

}  // namespace pagoda::engine

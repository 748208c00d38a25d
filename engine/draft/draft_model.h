// Draft tokens from a smaller model with the same vocabulary: it runs ahead of the large one, one
// greedy token after the other. Its sequences lie in fixed pages of its own, one row of pages for
// each request that can be under way, and are corrected where the large model disagreed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/model/decoder.h"
#include "engine/sched/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

class DraftModel {
 public:
  // `options` are those of the large model's decoder. `file` outlives this object.
  // Errors: those of Decoder; kInvalidArgument for a model of another vocabulary or a shorter
  // context.
  DraftModel(const ModelFile& file, const Tokenizer& tokenizer, const Tokenizer& large_tokenizer,
             const DecoderOptions& options, const Progress& progress = {});

  // Fills request->draft with up to request->max_draft tokens. Sequences of requests that are not
  // named are forgotten.
  void propose(const std::vector<Request*>& requests);

 private:
  // What one row of pages holds.
  struct Sequence {
    int32_t row = 0;
    std::vector<int32_t> tokens;  // whose keys and values are there
  };
  struct Work {
    Request* request;
    Sequence* sequence;
    std::vector<int32_t> tokens;  // known ones, then drafts
  };

  void forget_others(const std::vector<Request*>& requests);
  Sequence& sequence_of(const Request& request);
  // One forward pass over what the sequences lack, and a draft token for those that lack nothing
  // then. False if there was nothing to do.
  bool advance(std::vector<Work>& all);
  void add_to_batch(Work& work, int32_t num_tokens);
  std::span<const float> forward();

  Decoder decoder_;
  int32_t vocab_size_;  // tokens that may be drafted
  int32_t pages_per_row_;
  std::map<uint64_t, Sequence> sequences_;  // by request
  std::vector<int32_t> free_rows_;

  // The arrays of a pass.
  std::vector<int32_t> tokens_, query_start_loc_, seq_lens_, page_table_, logit_rows_;
  std::vector<int64_t> slot_mapping_;
  std::vector<Work*> gets_token_;
};

}  // namespace pagoda::engine

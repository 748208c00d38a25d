// The arrays of a step, in the order of its requests: from the scheduler's choice to the batch that
// the decoder takes.
#pragma once

#include <cstdint>
#include <pagoda/kv.hpp>
#include <vector>

#include "engine/model/decoder.h"
#include "engine/sched/scheduler.h"

namespace pagoda::engine {

class StepArrays {
 public:
  // table_width: pages of the longest sequence.
  StepArrays(int32_t num_groups, int32_t table_width);

  // The batch borrows from this object and is valid until the next call.
  StepBatch fill(const Cache& cache, const std::vector<ScheduledTokens>& step);

 private:
  int32_t table_width_;
  std::vector<uint64_t> ids_;                        // [num_reqs]
  std::vector<int32_t> tokens_;                      // [num_tokens]
  std::vector<int32_t> query_start_loc_;             // [num_reqs + 1]
  std::vector<int32_t> seq_lens_;                    // [num_reqs]
  std::vector<int32_t> logit_rows_;                  // [places that a token follows]
  std::vector<std::vector<int32_t>> page_tables_;    // [groups][num_reqs, table_width]
  std::vector<std::vector<int64_t>> slot_mappings_;  // [groups][num_tokens]
  std::vector<StepBatch::Group> groups_;             // [groups]
};

}  // namespace pagoda::engine

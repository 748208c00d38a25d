// Where one kind of request ends and the next begins in a batch that is in order.
#pragma once

#include <pagoda/batch.h>

#include <cstdint>

namespace pagoda {

// The requests of a batch as the splits see them.
struct SplitInput {
  const int32_t* query_start_loc = nullptr;  // [num_reqs + 1]
  int32_t num_reqs = 0;
  int32_t num_tokens = 0;  // padding included

  int32_t query_len(int32_t r) const { return query_start_loc[r + 1] - query_start_loc[r]; }
};

// Errors: query_start_loc falls, or exceeds num_tokens.
void check_split_input(const SplitInput& input);

pagoda_split split_decodes(const SplitInput& input, const pagoda_split_options& options);

// seq_lens: [num_reqs]
pagoda_split split_extends(const SplitInput& input, const int32_t* seq_lens, int32_t threshold);

}  // namespace pagoda

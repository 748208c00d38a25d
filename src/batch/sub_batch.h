// A range of a batch's requests as a batch of its own, and batches filled up to the size of a
// graph.
#pragma once

#include <pagoda/batch.h>

#include <cstdint>

namespace pagoda {

struct SubBatch {
  pagoda_batch batch;
  int32_t first_token;
};

// query_start_loc: [count + 1] out, or null to borrow that of the batch when first is 0.
SubBatch sub_batch(const pagoda_batch& batch, int32_t first, int32_t count,
                   int32_t* query_start_loc);

// tokens: [num_tokens] the rows that stay; query_start_loc: [num_reqs + 1] out.
pagoda_batch last_queries(const pagoda_batch& batch, const int32_t* tokens, int32_t num_tokens,
                          int32_t* query_start_loc);

// Completes the batch's arrays in place and returns it with the new numbers.
pagoda_batch pad_batch(const pagoda_batch& batch, int32_t num_reqs, int32_t num_tokens);

// Errors: counts below 0, arrays that are missing.
void check_host_batch(const pagoda_batch& batch);

}  // namespace pagoda

// The order of requests in a batch: decodes first, fresh prompts last, moving as few as possible.
#pragma once

#include <pagoda/batch.h>

#include <cstddef>
#include <cstdint>

namespace pagoda {

int32_t decode_threshold(const pagoda_threshold_options& options);

// Request r of the arrays. Errors: a negative number.
pagoda_request_kind kind_of(const pagoda_step_requests& requests, int32_t r, int32_t threshold);

// order: [num_reqs] out. Returns whether any request moves.
bool order_batch(const pagoda_step_requests& requests, int32_t threshold, int32_t* order);

// rows: [num_reqs] of row_size bytes, stride bytes apart. Errors: `order` is no permutation.
void apply_order(const int32_t* order, int32_t num_reqs, std::byte* rows, size_t row_size,
                 size_t stride);

}  // namespace pagoda

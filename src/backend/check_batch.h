// The checks of a batch that need its arrays: for backends whose arrays lie in host memory. Nothing
// that comes out of a batch may lead a kernel outside the tensors that it was given.
#pragma once

#include "backend.h"

namespace pagoda {

// Throws Failure naming the entry, its value and the bound. O(tokens + pages in use).
void check_batch_on_host(const Problem& problem, const Batch& batch);

// Part of it, for a batch with a block mask. O(entries).
void check_block_mask_on_host(const Batch& batch);

// The same for the rows of the call's key and value, in a plan without a cache.
void check_keys_on_host(const Batch& batch, int64_t num_keys);

}  // namespace pagoda

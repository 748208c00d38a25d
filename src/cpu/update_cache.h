// The new keys and values of a step into their pages, as they are or quantised.
#pragma once

#include "../backend/backend.h"
#include "kernels.h"
#include "threads.h"

namespace pagoda::cpu {

// key: [num_tokens, num_kv_heads, head_dim], value: [num_tokens, num_kv_heads, head_dim_v]
void write_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                 const TensorView& value, const Kernels& kernels, ThreadPool& pool);

// Queries to their codes, and their scales where those belong to tokens.
void write_query_codes(const QueryCodes& operands, const Kernels& kernels, ThreadPool& pool);

}  // namespace pagoda::cpu

// The caller's structs read into what the inside works with, checked as far as that needs no
// device.
#pragma once

#include "../backend/backend.h"
#include "check_tensor.h"

namespace pagoda::capi {

// The backend that the options name, or the best one that can be used here.
std::unique_ptr<Backend> create_backend(const pagoda_context_options& options);

Batch read_batch(const pagoda_batch* given, const Problem& problem);

// `given` may be NULL for a plan that needs nothing of a layer.
Layer read_layer(const pagoda_layer* given, const Problem& problem, Access access);

// The scales of queries in a format: of the tokens and heads, or of the key heads.
TensorView read_query_scale(const pagoda_tensor* given, const char* name,
                            pagoda_query_format format, int64_t num_tokens, int64_t num_heads,
                            int64_t num_kv_heads, Access access);

QueryCodes read_query_codes(const pagoda_query_codes* given);

MergeOperands read_merge(const pagoda_merge* given);

}  // namespace pagoda::capi

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

MergeOperands read_merge(const pagoda_merge* given);

}  // namespace pagoda::capi

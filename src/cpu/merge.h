// Union of two finished states (core/state.h), row by row.
#pragma once

#include "../backend/backend.h"
#include "kernels.h"
#include "threads.h"

namespace pagoda::cpu {

void merge_states(const MergeOperands& operands, const Kernels& kernels, ThreadPool& pool);

}  // namespace pagoda::cpu

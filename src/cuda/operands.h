// Host. From the interface's tensors to what the kernels are told.
#pragma once

#include "../backend/backend.h"
#include "attend_params.h"
#include "tensor_map.h"
#include "update_params.h"

namespace pagoda::cuda {

// Strides in elements become strides in bytes. Throws Failure where a row that the kernels move by
// 16 bytes does not start at a multiple of 16.
AttendParams attend_params_of(const Prepared& prepared, const Attend& step, const Layer& layer,
                              const Operands& operands);
// For a launch behind the decode kernel's, or for the mixed kernel and what comes behind that.
PrefillParams prefill_params_of(const AttendParams& params, const Prepared& prepared, KeyMaps& maps,
                                PackedMaps& row_maps);

CacheWriteParams cache_write_params_of(const Prepared& prepared, const Layer& layer,
                                       const TensorView& key, const TensorView& value);
MergeParams merge_params_of(const MergeOperands& operands);

}  // namespace pagoda::cuda

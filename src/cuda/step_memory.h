// Host. What a step keeps in the workspace: the schedule and the partial states.
#pragma once

#include <cuda_runtime_api.h>

#include "../backend/backend.h"
#include "attend_params.h"
#include "schedule.h"
#include "select.h"

namespace pagoda::cuda {

void add_step_regions(const Problem& problem, const CudaKernel& kernel, WorkspaceMap& map);

// Queues what a step needs before its first layer: counters to 0, the schedule from the lengths.
// decode: null where one kernel attends all requests.
void queue_schedule(const Prepared& prepared, const KernelEntry* decode, int32_t num_sms,
                    cudaStream_t stream);

// The pointers into the workspace.
void fill_step_pointers(const Prepared& prepared, AttendParams& params);
uint32_t* next_tile_of(const Prepared& prepared);

}  // namespace pagoda::cuda

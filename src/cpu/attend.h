// Attention of a prepared step: the threads take the items of the schedule, longest first.
#pragma once

#include "../backend/backend.h"
#include "schedule.h"
#include "threads.h"

namespace pagoda::cpu {

void attend_step(const Prepared& prepared, const Attend& step, const Layer& layer,
                 const Operands& operands, const Kernels& kernels, const Geometry& geometry,
                 ThreadPool& pool);

}  // namespace pagoda::cpu

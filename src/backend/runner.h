// Walks the steps of a plan over a backend.
#pragma once

#include "backend.h"
#include "ranks.h"

namespace pagoda {

// ranks: null where the plan has no steps for them
void run_plan(Backend& backend, Ranks* ranks, const Plan& plan, const Prepared& prepared,
              const Layer& layer, const Operands& operands);

}  // namespace pagoda

// Walks the steps of a plan over a backend.
#pragma once

#include "backend.h"

namespace pagoda {

void run_plan(Backend& backend, const Plan& plan, const Prepared& prepared, const Layer& layer,
              const Operands& operands);

}  // namespace pagoda

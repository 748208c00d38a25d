// What the library says about itself, as text.
#pragma once

#include <string>
#include <vector>

#include "../plan/problem.h"

namespace pagoda::capi {

std::string join(const std::vector<std::string>& parts, const char* separator);

// What is asked without a context: the limits, if absent, are the smallest, and there are ranks to
// divide keys among.
Problem read_question(const pagoda_spec* spec, const pagoda_limits* limits,
                      const pagoda_tuning* tuning);

// For each backend of this build: the kernel that serves the problem, or why none does.
std::string explain(const Problem& problem);

// For each backend of this build: what it found on this machine.
std::string doctor();

}  // namespace pagoda::capi

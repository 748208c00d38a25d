// How often this thread has allocated, for tests that a step does not.
#pragma once

#include <cstdint>

namespace pagoda::mask {

int64_t num_allocations();

}  // namespace pagoda::mask

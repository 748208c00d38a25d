// operator new that counts, and that fails when it is told to. For the program that links its .cpp.
#pragma once

#include <cstdint>

namespace pagoda::test {

int64_t num_allocations();

// The allocation after `allowed` more fails, once. Negative: none fails.
void fail_allocation_after(int64_t allowed);

}  // namespace pagoda::test

// Ranks that are threads of one process: for tests, and for engines that run one thread per device.
#pragma once

#include <memory>
#include <vector>

#include "communicator.h"

namespace pagoda::parallel {

// One communicator for each rank.
std::vector<std::unique_ptr<Communicator>> make_local(int32_t num_ranks, int32_t timeout_ms);

}  // namespace pagoda::parallel

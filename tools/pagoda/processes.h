// Processes that mpirun started together.
#pragma once

#include <pagoda/comm.h>

#include <cstdint>
#include <memory>

namespace pagoda::cli {

// The communicator of all of them. Only the first writes to stdout from then on, and to stderr only
// errors. Errors: std::runtime_error with a sentence, also where this build has no MPI.
std::shared_ptr<const pagoda_comm> join_processes(int32_t timeout_ms);

// Whether no process was joined, or this is the first.
bool is_first_process();

// "rank 2: " if processes were joined and this is not the only one.
const char* name_of_process();

}  // namespace pagoda::cli

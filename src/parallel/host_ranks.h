// The steps between ranks for backends that compute on the host.
#pragma once

#include <pagoda/comm.h>

#include "../backend/ranks.h"

namespace pagoda::parallel {

// Borrows what `comm` points to.
std::unique_ptr<Ranks> make_host_ranks(const pagoda_comm& comm);

}  // namespace pagoda::parallel

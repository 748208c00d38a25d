// The caller's communicator, checked.
#pragma once

#include <pagoda/comm.h>

#include "guard.h"

namespace pagoda::capi {

inline pagoda_comm read_comm(const pagoda_comm* given) {
  const pagoda_comm comm = read_struct(given, "pagoda_comm");
  expect(comm.num_ranks > 0 && comm.rank >= 0 && comm.rank < comm.num_ranks,
         PAGODA_INVALID_ARGUMENT, "comm.rank is ", comm.rank, " of ", comm.num_ranks,
         "; ranks count from 0");
  expect(comm.all_gather != nullptr && comm.reduce_scatter != nullptr && comm.last_error != nullptr,
         PAGODA_INVALID_ARGUMENT,
         "comm.all_gather, comm.reduce_scatter or comm.last_error is NULL; all three are called");
  return comm;
}

}  // namespace pagoda::capi

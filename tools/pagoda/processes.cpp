#include "tools/pagoda/processes.h"

#include <iostream>
#include <stdexcept>
#include <streambuf>
#include <string>

#ifdef PAGODA_HAS_MPI
#include <pagoda/mpi.h>
#endif

namespace pagoda::cli {
namespace {

struct Nowhere : std::streambuf {
  int overflow(int c) override { return traits_type::not_eof(c); }
};

std::string process_name;
int32_t rank_of_process = 0;

}  // namespace

bool is_first_process() {
  return rank_of_process == 0;
}

const char* name_of_process() {
  return process_name.c_str();
}

#ifdef PAGODA_HAS_MPI
std::shared_ptr<const pagoda_comm> join_processes(int32_t timeout_ms) {
  std::shared_ptr<pagoda_comm> comm(new pagoda_comm{}, [](pagoda_comm* it) {
    pagoda_comm_destroy(it);
    delete it;
  });
  if (pagoda_comm_create_mpi(timeout_ms, comm.get()) != PAGODA_OK)
    throw std::runtime_error(pagoda_mpi_last_error());
  static auto* const nowhere = new Nowhere;  // cout is flushed after every destructor
  rank_of_process = comm->rank;
  if (comm->rank > 0) std::cout.rdbuf(nowhere);
  if (comm->num_ranks > 1) process_name = "rank " + std::to_string(comm->rank) + ": ";
  return comm;
}
#else
std::shared_ptr<const pagoda_comm> join_processes(int32_t) {
  throw std::runtime_error(
      "this build has no MPI; install libopenmpi-dev and openmpi-bin and build again");
}
#endif

}  // namespace pagoda::cli

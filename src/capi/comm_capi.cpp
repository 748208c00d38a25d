// comm.h in terms of the library.
#include <pagoda/comm.h>

#include "../core/shard.h"
#include "../parallel/local.h"
#include "guard.h"
#include "read_comm.h"

using namespace pagoda;
using namespace pagoda::capi;

namespace {

void check_rank(int32_t rank, int32_t num_ranks, int32_t interleave) {
  expect(num_ranks > 0 && rank >= 0 && rank < num_ranks, PAGODA_INVALID_ARGUMENT, "rank is ", rank,
         " of ", num_ranks, "; ranks count from 0");
  expect(interleave > 0, PAGODA_INVALID_ARGUMENT, "interleave is ", interleave,
         "; it is at least 1");
}

}  // namespace

pagoda_status pagoda_comm_create_local(int32_t num_ranks, int32_t timeout_ms, pagoda_comm* comms) {
  return guard([&] {
    expect(comms != nullptr, PAGODA_INVALID_ARGUMENT, "comms is NULL; it has num_ranks places");
    auto ranks = parallel::make_local(num_ranks, timeout_ms);
    for (int32_t r = 0; r < num_ranks; ++r)
      comms[r] = parallel::expose(std::move(ranks[static_cast<size_t>(r)]), r, num_ranks);
  });
}

void pagoda_comm_destroy(pagoda_comm* comm) {
  if (comm == nullptr || comm->destroy == nullptr || comm->user == nullptr) return;
  comm->destroy(comm->user);
  comm->user = nullptr;
}

pagoda_status pagoda_comm_all_reduce(const pagoda_comm* comm, float* values, float* scratch,
                                     size_t count, pagoda_stream stream) {
  return guard([&] {
    const pagoda_comm own = read_comm(comm);
    expect(values != nullptr && scratch != nullptr, PAGODA_INVALID_ARGUMENT, "values is ",
           values != nullptr ? "set" : "NULL", " and scratch ", scratch != nullptr ? "set" : "NULL",
           "; both are needed");
    const pagoda_status status =
        own.all_gather(own.user, values, scratch, count * sizeof(float), stream);
    expect(status == PAGODA_OK, status, own.last_error(own.user));
    parallel::sum_in_order(
        own.num_ranks, [&](int32_t r) { return scratch + static_cast<size_t>(r) * count; }, values,
        count);
  });
}

pagoda_status pagoda_local_slots(int32_t rank, int32_t num_ranks, int32_t interleave,
                                 int32_t page_size, const int64_t* slots, int64_t* local_slots,
                                 int32_t num_tokens) {
  return guard([&] {
    check_rank(rank, num_ranks, interleave);
    expect(page_size > 0 && page_size % interleave == 0, PAGODA_INVALID_ARGUMENT, "page_size is ",
           page_size, "; it is a multiple of interleave, ", interleave);
    expect((slots != nullptr && local_slots != nullptr) || num_tokens == 0, PAGODA_INVALID_ARGUMENT,
           "slots or local_slots is NULL; both have num_tokens entries");
    const Shard shard{rank, num_ranks, interleave};
    const int64_t all = int64_t{page_size} * num_ranks;
    for (int32_t t = 0; t < num_tokens; ++t) {
      const int64_t slot = slots[t];
      const auto offset = static_cast<int32_t>(slot >= 0 ? slot % all : 0);
      local_slots[t] = slot >= 0 && keeps(shard, offset)
                           ? slot / all * page_size + local_len(shard, offset)
                           : -1;
    }
  });
}

int32_t pagoda_local_len(int32_t rank, int32_t num_ranks, int32_t interleave, int32_t seq_len) {
  if (num_ranks < 1 || rank < 0 || rank >= num_ranks || interleave < 1 || seq_len < 0) return 0;
  return local_len({rank, num_ranks, interleave}, seq_len);
}

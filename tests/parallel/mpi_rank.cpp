// One process of a run under mpirun.
//
//     mpi_rank cases N            N random cases, each against the oracle
//     mpi_rank lose R SIG POINT   steps without end, until rank R sends itself signal SIG at POINT;
//                                 the others say after how many seconds they knew, and what
//
// tests/parallel/lost_ranks.py starts it.
#include <pagoda/mpi.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/conformance/backends.h"
#include "tests/conformance/rank_world.h"

namespace pagoda::conformance {
namespace {

using Clock = std::chrono::steady_clock;

ContextOptions options_with(const pagoda_comm& comm) {
  ContextOptions options;
  options.backend = "cpu";
  options.num_threads = 1;
  options.comm = &comm;
  return options;
}

// What every rank sent, in the order of ranks.
std::vector<std::vector<float>> gather(const pagoda_comm& comm, const std::vector<float>& own) {
  const auto ranks = static_cast<size_t>(comm.num_ranks);
  std::vector<float> all(own.size() * ranks);
  check(comm.all_gather(comm.user, own.data(), all.data(), own.size() * sizeof(float), nullptr));
  std::vector<std::vector<float>> parts;
  for (size_t r = 0; r < ranks; ++r)
    parts.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(r * own.size()),
                       all.begin() + static_cast<std::ptrdiff_t>((r + 1) * own.size()));
  return parts;
}

int run_cases(const pagoda_comm& comm, int count) {
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    const Ranks ranks{comm.num_ranks, 1 << (i % 5), i % 3 == 0};
    const auto seed = static_cast<uint64_t>(7919 * i + 1);
    const Geometry g = draw_shared(seed, ranks);
    const Values values = draw_values(g, seed);
    const std::string isa = Backends::has(g.isa) ? g.isa : "scalar";
    ContextOptions options = options_with(comm);
    options.isa = isa.c_str();
    const Context context(options);
    const Result own = RankWorld(g, values, ranks, comm.rank, seed | 1).run(context);
    const auto outs = gather(comm, own.out), lses = gather(comm, own.lse);
    std::vector<Result> results;
    for (size_t r = 0; r < outs.size(); ++r)
      results.push_back({.complaint = own.complaint, .out = outs[r], .lse = lses[r]});
    const Comparison comparison = compare(g, attend<double>(g, values), join(g, ranks, results),
                                          arithmetic_of(g, values, ranks));
    if (comparison.complaint.empty()) continue;
    std::printf("rank %d, case %d: %s\n  %s\n", comm.rank, i, comparison.complaint.c_str(),
                describe(g).c_str());
    ++failed;
  }
  std::printf("rank %d: %d cases, %d failed\n", comm.rank, count, failed);
  return failed != 0 ? 1 : 0;
}

// Points of a step at which a rank may be lost, told by its calls of the communicator.
enum Point { before_gather, after_gather, before_reduce, after_reduce, between_steps };

struct Victim {
  pagoda_comm inner;
  int signal = 0, point = 0, steps_left = 3;

  void maybe_die(int here) {
    if (here == point && steps_left <= 0) raise(signal);
  }
};

// The communicator of the rank that will be lost.
pagoda_comm watch(Victim& victim) {
  pagoda_comm comm = victim.inner;
  comm.user = &victim;
  comm.all_gather = [](void* user, const void* send, void* recv, size_t bytes, pagoda_stream s) {
    auto& v = *static_cast<Victim*>(user);
    v.maybe_die(before_gather);
    const pagoda_status status = v.inner.all_gather(v.inner.user, send, recv, bytes, s);
    v.maybe_die(after_gather);
    return status;
  };
  comm.reduce_scatter = [](void* user, const float* send, float* recv, size_t n, pagoda_stream s) {
    auto& v = *static_cast<Victim*>(user);
    v.maybe_die(before_reduce);
    const pagoda_status status = v.inner.reduce_scatter(v.inner.user, send, recv, n, s);
    v.maybe_die(after_reduce);
    return status;
  };
  comm.last_error = [](void* user) {
    auto& v = *static_cast<Victim*>(user);
    return v.inner.last_error(v.inner.user);
  };
  return comm;
}

Geometry small_case(const Ranks& ranks) {
  for (uint64_t seed = 1;; ++seed) {
    Geometry g = draw_shared(seed, ranks);
    if (g.num_query_tokens() > 2 && g.regime == Regime::gaussian) return g;
  }
}

int lose(const pagoda_comm& comm, int victim_rank, int signal, int point) {
  const Ranks ranks{comm.num_ranks, 1, false};
  const Geometry g = small_case(ranks);
  const Values values = draw_values(g, 1);
  Victim victim{.inner = comm, .signal = signal, .point = point};
  const bool is_victim = comm.rank == victim_rank;
  const pagoda_comm used = is_victim ? watch(victim) : comm;
  std::printf("rank %d is process %d\n", comm.rank, getpid());
  std::fflush(stdout);
  const Context context(options_with(used));
  for (;;) {
    const auto start = Clock::now();
    const Result result = RankWorld(g, values, ranks, comm.rank, 5).run(context);
    --victim.steps_left;
    if (is_victim) victim.maybe_die(between_steps);
    if (result.complaint.empty()) continue;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::printf("rank %d knew after %.2f s, status %d: %s\n", comm.rank, seconds,
                static_cast<int>(result.status), result.complaint.c_str());
    std::fflush(stdout);
    std::_Exit(3);  // MPI_Finalize would wait for the lost rank
  }
}

int run(int argc, char** argv) {
  pagoda_comm comm;
  if (pagoda_comm_create_mpi(0, &comm) != PAGODA_OK) {
    std::fprintf(stderr, "%s\n", pagoda_mpi_last_error());
    return 1;
  }
  int code = 2;
  if (argc == 3 && std::strcmp(argv[1], "cases") == 0)
    code = run_cases(comm, std::atoi(argv[2]));
  else if (argc == 5 && std::strcmp(argv[1], "lose") == 0)
    code = lose(comm, std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4]));
  pagoda_comm_destroy(&comm);
  return code;
}

}  // namespace
}  // namespace pagoda::conformance

int main(int argc, char** argv) {
  return pagoda::conformance::run(argc, argv);
}

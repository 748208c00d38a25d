// Random cases of attention: the CPU backend with every instruction set and both forms of the
// reference against the oracle.
//
//   attend_conformance --cases=N [--first=F]   cases F .. F+N-1
//   attend_conformance --case=G:D              one case, with what it is
#include <gtest/gtest.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <mutex>
#include <thread>

#include "check_case.h"
#include "features.h"
#include "program.h"

namespace pagoda::conformance {
namespace {

struct Options {
  uint64_t first = 0, cases = 1500;
  bool one = false;
  CaseId id{};
};
Options options;

CaseId id_of(uint64_t index) {
  return {index, index * 31 + 7};
}

// All cases on two threads, each with its own contexts.
struct Sweep {
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  std::vector<std::string> complaints;
  PairCount pairs;
  Ratios ratios;

  void work() {
    Backends backends;
    PairCount own_pairs;
    Ratios own_ratios;
    for (uint64_t i; (i = next++) < options.cases;) {
      const CaseId id = id_of(options.first + i);
      own_pairs.add(draw_geometry(id.geometry));
      const Verdict verdict = check_case(id, backends);
      own_ratios.include(verdict.ratios);
      if (verdict.complaint.empty()) continue;
      const std::lock_guard lock(mutex);
      complaints.push_back(verdict.complaint);
    }
    const std::lock_guard lock(mutex);
    pairs.add(own_pairs);
    ratios.include(own_ratios);
  }
};

void print_summary(const Sweep& sweep) {
  std::printf("%" PRIu64 " cases from %" PRIu64 "; instruction sets:", options.cases,
              options.first);
  for (const char* isa : kIsas) std::printf(" %s%s", isa, Backends::has(isa) ? "" : " (absent)");
  std::printf("\nlargest error / bound: cpu out %.3f lse %.3f, reference out %.3f lse %.3f\n",
              sweep.ratios.cpu_out, sweep.ratios.cpu_lse, sweep.ratios.reference_out,
              sweep.ratios.reference_lse);
  std::printf("pairs of features: %" PRId64 " of %" PRId64 " legal ones drawn, the rarest %" PRId64
              " times\n",
              sweep.pairs.pairs_hit(), sweep.pairs.legal_pairs(), sweep.pairs.fewest());
}

TEST(AttendConformance, RandomCases) {
  if (options.one) GTEST_SKIP() << "--case runs one case alone";
  Sweep sweep;
  std::thread other([&] { sweep.work(); });
  sweep.work();
  other.join();
  print_summary(sweep);
  for (size_t i = 0; i < sweep.complaints.size() && i < 20; ++i)
    ADD_FAILURE() << sweep.complaints[i];
  EXPECT_EQ(sweep.complaints.size(), 0u) << "cases failed, of " << options.cases;
  EXPECT_EQ(sweep.pairs.illegal_hit(), std::vector<std::string>{});
  if (options.cases >= 20000) {
    EXPECT_EQ(sweep.pairs.missed(), std::vector<std::string>{});
  }
}

TEST(AttendConformance, OneCase) {
  if (!options.one) GTEST_SKIP() << "no --case=G:D was given";
  Backends backends;
  std::printf("%s\n", describe(draw_geometry(options.id.geometry)).c_str());
  const Verdict verdict = check_case(options.id, backends);
  std::printf("error / bound: cpu out %.3f lse %.3f, reference out %.3f lse %.3f\n",
              verdict.ratios.cpu_out, verdict.ratios.cpu_lse, verdict.ratios.reference_out,
              verdict.ratios.reference_lse);
  EXPECT_EQ(verdict.complaint, "");
}

bool read_option(const char* text) {
  if (std::sscanf(text, "--cases=%" SCNu64, &options.cases) == 1) return true;
  if (std::sscanf(text, "--first=%" SCNu64, &options.first) == 1) return true;
  options.one =
      std::sscanf(text, "--case=%" SCNu64 ":%" SCNu64, &options.id.geometry, &options.id.data) == 2;
  return options.one;
}

}  // namespace
}  // namespace pagoda::conformance

int main(int argc, char** argv) {
  using namespace pagoda::conformance;
  return run_tests(argc, argv, "attend_conformance", read_option);
}

// The harness itself under test: historical mistakes of this field, planted one at a time in an
// implementation that is otherwise right. A harness that does not notice one would not have noticed
// the original either.
#include <gtest/gtest.h>

#include <cstdio>

#include "compare.h"
#include "stand_in.h"

namespace pagoda::conformance {
namespace {

constexpr uint64_t kCases = 2000;

// What the harness says of the stand-in in one case; empty: nothing.
std::string verdict_on(Fault fault, uint64_t seed) {
  Geometry geometry = draw_geometry(seed);
  geometry.kv_format = PAGODA_KV_SAME;  // the stand-in reads and writes numbers alone
  geometry.query_format = PAGODA_QUERY_SAME;
  geometry.scales_in_rows = false;
  const Values values = draw_values(geometry, seed * 31 + 7);
  const Expected expected = attend<double>(geometry, values);
  Step first(geometry, values, {.pages_seed = seed, .fill_seed = 0});
  const Result result = run_stand_in(first, fault);
  const std::string complaint = compare(geometry, expected, result, kFloat).complaint;
  if (!complaint.empty()) return complaint;
  Step second(geometry, values, {.pages_seed = seed, .fill_seed = seed | 1});
  return differing_bits(result, run_stand_in(second, fault));
}

TEST(PlantedFaults, TheStandInWithoutAFaultPasses) {
  for (uint64_t seed = 0; seed < kCases; ++seed)
    ASSERT_EQ(verdict_on(Fault::none, seed), "") << seed;
}

class PlantedFault : public ::testing::TestWithParam<int> {};

TEST_P(PlantedFault, IsNoticed) {
  const Fault fault = static_cast<Fault>(GetParam());
  for (uint64_t seed = 0; seed < kCases; ++seed) {
    const std::string complaint = verdict_on(fault, seed);
    if (complaint.empty()) continue;
    std::printf("noticed in case %d: %s\n", static_cast<int>(seed) + 1, complaint.c_str());
    RecordProperty("cases", static_cast<int>(seed) + 1);
    return;
  }
  FAIL() << name_of(fault) << " was not noticed in " << kCases << " cases";
}

INSTANTIATE_TEST_SUITE_P(All, PlantedFault, ::testing::Range(1, static_cast<int>(Fault::count)),
                         [](const auto& info) { return name_of(static_cast<Fault>(info.param)); });

}  // namespace
}  // namespace pagoda::conformance

// Regions of a workspace: aligned, disjoint, in order, and a size that never wraps.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>

#include "src/core/error.h"
#include "src/plan/workspace.h"

namespace pagoda {
namespace {

TEST(WorkspaceMap, RegionsAreAlignedDisjointAndInside) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    WorkspaceMap map;
    const int count = static_cast<int>(random() % 8);
    for (int i = 0; i < count; ++i) map.add("region " + std::to_string(i), random() % 2000);
    size_t end = 0;
    for (const Region& region : map.regions()) {
      ASSERT_EQ(region.offset % WorkspaceMap::kAlignment, 0u);
      ASSERT_GE(region.offset, end);
      end = region.offset + region.size;
    }
    ASSERT_GE(map.size(), end);
    ASSERT_LT(map.size(), end + WorkspaceMap::kAlignment);
    ASSERT_EQ(map.size() % WorkspaceMap::kAlignment, 0u);
  }
}

TEST(WorkspaceMap, AnEmptyMapHasNoSize) {
  EXPECT_EQ(WorkspaceMap().size(), 0u);
}

TEST(WorkspaceMap, FindsByName) {
  WorkspaceMap map;
  map.add("first", 1);
  map.add_array("second", 3, 8);
  EXPECT_EQ(map.find("second").offset, 256u);
  EXPECT_EQ(map.find("second").size, 24u);
  EXPECT_THROW(map.find("third"), Failure);
}

void expect_status(pagoda_status status, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "it did not throw";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, status) << failure.what();
  }
}

TEST(WorkspaceMap, RefusesANameTwice) {
  WorkspaceMap map;
  map.add("states", 1);
  expect_status(PAGODA_INTERNAL, [&] { map.add("states", 1); });
}

TEST(WorkspaceMap, RefusesSizesThatWrap) {
  constexpr size_t kMost = std::numeric_limits<size_t>::max();
  WorkspaceMap map;
  expect_status(PAGODA_OUT_OF_LIMITS, [&] { map.add("too large", kMost); });
  expect_status(PAGODA_OUT_OF_LIMITS, [&] { map.add_array("too many", kMost / 4, 8); });
  map.add("half", size_t{1} << 62);
  expect_status(PAGODA_OUT_OF_LIMITS, [&] { map.add("the other half", size_t{1} << 62); });
  EXPECT_EQ(map.regions().size(), 1u) << "a refused region leaves nothing behind";
  EXPECT_EQ(map.size(), size_t{1} << 62);
}

}  // namespace
}  // namespace pagoda

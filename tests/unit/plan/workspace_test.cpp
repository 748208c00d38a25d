#include "src/plan/workspace.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "src/core/error.h"

namespace pagoda {
namespace {

TEST(WorkspaceMap, RegionsAreAlignedAndDoNotOverlap) {
  WorkspaceMap map;
  const size_t sizes[] = {1, 256, 0, 257, 1000, 3};
  for (size_t i = 0; i < std::size(sizes); ++i) map.add("r" + std::to_string(i), sizes[i]);
  size_t end = 0;
  for (const Region& region : map.regions()) {
    EXPECT_EQ(region.offset % WorkspaceMap::kAlignment, 0u);
    EXPECT_GE(region.offset, end);
    EXPECT_LT(region.offset - end, WorkspaceMap::kAlignment);  // no hole beyond alignment
    end = region.offset + region.size;
  }
  EXPECT_GE(map.size(), end);
  EXPECT_LT(map.size() - end, WorkspaceMap::kAlignment);
  EXPECT_EQ(map.find("r4").size, 1000u);
}

TEST(WorkspaceMap, AnEmptyMapHasNoSize) {
  EXPECT_EQ(WorkspaceMap().size(), 0u);
}

TEST(WorkspaceMap, RefusesWhatCannotBeAddressed) {
  WorkspaceMap map;
  EXPECT_THROW(map.add_array("huge", SIZE_MAX / 2, 4), Failure);
  map.add("half", size_t{1} << 62);
  EXPECT_THROW(map.add("other half", size_t{1} << 62), Failure);
  EXPECT_EQ(map.regions().size(), 1u);
}

TEST(WorkspaceMap, RefusesANameTwiceAndANameUnknown) {
  WorkspaceMap map;
  map.add("items", 8);
  EXPECT_THROW(map.add("items", 8), Failure);
  EXPECT_THROW(map.find("states"), Failure);
}

}  // namespace
}  // namespace pagoda

#include "src/core/splits.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace pagoda {
namespace {

TEST(Splits, CoverEveryKeyOnceWithCutsAtUnits) {
  for (const int forced : {0, 1, 2, 3, 5, 8, 17, 128})
    for (const int seq_len : {0, 1, 63, 64, 65, 511, 512, 513, 1000, 4096, 131072, INT32_MAX}) {
      const SplitRule rule{.num_splits = forced};
      const int64_t len = split_len(rule, seq_len);
      const int32_t count = split_count(rule, seq_len);
      ASSERT_GT(len, 0);
      ASSERT_EQ(len % rule.unit, 0);
      ASSERT_EQ(count == 0, seq_len == 0);
      if (count == 0) continue;
      ASSERT_LT(len * (count - 1), seq_len);  // the last split has a key
      ASSERT_GE(len * count, seq_len);        // and no key is left
      ASSERT_TRUE(forced == 0 || count <= forced);
    }
}

TEST(Splits, OneSplitIsNoCut) {
  for (const int seq_len : {1, 64, 100000, INT32_MAX})
    EXPECT_EQ(split_count({.num_splits = 1}, seq_len), 1);
}

TEST(Splits, AutomaticLengthIsTheRules) {
  EXPECT_EQ(split_len({.automatic = 512}, 9), 512);
  EXPECT_EQ(split_len({.automatic = 512}, 100000), 512);
  EXPECT_EQ(split_count({.automatic = 512}, 100000), 196);
}

}  // namespace
}  // namespace pagoda

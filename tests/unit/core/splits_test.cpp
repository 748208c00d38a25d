// The cuts of a request tile [0, seq_len) exactly once and depend on its length alone.
#include "src/core/splits.h"

#include <gtest/gtest.h>

#include <random>

namespace pagoda {
namespace {

void check(const SplitRule& rule, int32_t seq_len) {
  const int64_t len = split_len(rule, seq_len);
  const int32_t count = split_count(rule, seq_len);
  ASSERT_GT(len, 0);
  ASSERT_EQ(len % rule.unit, 0);
  // The last split is not empty and ends at seq_len or beyond; none before it does.
  ASSERT_GE(count * len, seq_len);
  ASSERT_LT((int64_t{count} - 1) * len, seq_len) << "an empty split";
  ASSERT_EQ(count == 0, seq_len == 0);
  if (rule.num_splits > 0) {
    ASSERT_LE(count, rule.num_splits);
  }
  if (rule.num_splits == 1) {
    ASSERT_LE(count, 1);
  }
}

TEST(Splits, TileEveryLengthOnce) {
  for (int32_t unit : {1, 16, 64, 128})
    for (int32_t num_splits : {0, 1, 2, 3, 4, 5, 6, 7, 8, 17, 128})
      for (int32_t seq_len = 0; seq_len < 3000; ++seq_len)
        check({.unit = unit, .automatic = 512, .num_splits = num_splits}, seq_len);
}

TEST(Splits, TileVeryLongRequestsWithoutOverflow) {
  for (int32_t num_splits : {0, 1, 2, 17, INT32_MAX})
    for (int32_t seq_len : {INT32_MAX, INT32_MAX - 1, INT32_MAX - 63, 1 << 30})
      check({.num_splits = num_splits}, seq_len);
}

TEST(Splits, MeetTheWantedNumberWhereTheUnitAllows) {
  EXPECT_EQ(split_count({.num_splits = 8}, 8 * 64), 8);
  EXPECT_EQ(split_count({.num_splits = 17}, 17 * 64), 17);
  EXPECT_EQ(split_count({.num_splits = 8}, 64), 1);
  EXPECT_EQ(split_count({.num_splits = 2}, 65), 2);
}

TEST(Splits, AutomaticCutsDoNotMoveAsARequestGrows) {
  for (int32_t seq_len = 1; seq_len < 5000; ++seq_len)
    ASSERT_EQ(split_len({}, seq_len), split_len({}, seq_len + 1));
}

}  // namespace
}  // namespace pagoda

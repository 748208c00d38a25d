// Local lengths against brute force and against figures of another implementation.
#include "src/core/shard.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagoda {
namespace {

std::vector<int32_t> local_lens(int32_t num_ranks, int32_t interleave, int32_t len) {
  std::vector<int32_t> lens;
  for (int32_t r = 0; r < num_ranks; ++r)
    lens.push_back(local_len({r, num_ranks, interleave}, len));
  return lens;
}

TEST(Shard, LocalLengthsOfAnotherImplementation) {
  using Lens = std::vector<int32_t>;
  EXPECT_EQ(local_lens(2, 1, 9), (Lens{5, 4}));
  EXPECT_EQ(local_lens(2, 16, 17), (Lens{16, 1}));
  EXPECT_EQ(local_lens(2, 16, 33), (Lens{17, 16}));
  EXPECT_EQ(local_lens(2, 16, 100), (Lens{52, 48}));
  EXPECT_EQ(local_lens(4, 2, 9), (Lens{3, 2, 2, 2}));
  EXPECT_EQ(local_lens(4, 2, 33), (Lens{9, 8, 8, 8}));
  EXPECT_EQ(local_lens(4, 2, 100), (Lens{26, 26, 24, 24}));
}

TEST(Shard, CountsAndPositionsAreThoseOfTokensOneByOne) {
  for (const int32_t num_ranks : {1, 2, 3, 4, 8})
    for (const int32_t interleave : {1, 2, 16})
      for (int32_t rank = 0; rank < num_ranks; ++rank) {
        const Shard shard{rank, num_ranks, interleave};
        int32_t count = 0;
        for (int32_t p = 0; p < 300; ++p) {
          ASSERT_EQ(local_len(shard, p), count);
          if (p / interleave % num_ranks != rank) {
            ASSERT_FALSE(keeps(shard, p));
            continue;
          }
          ASSERT_TRUE(keeps(shard, p));
          ASSERT_EQ(position_of(shard, count), p);
          ++count;
        }
      }
}

TEST(Shard, LengthsNearTheLargestDoNotOverflow) {
  int64_t sum = 0;
  for (int32_t r = 0; r < 8; ++r) sum += local_len({r, 8, 16}, INT32_MAX);
  EXPECT_EQ(sum, INT32_MAX);
}

}  // namespace
}  // namespace pagoda

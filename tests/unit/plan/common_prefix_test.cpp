// The rules of other engines for one prefix that all requests share, by their known answers.
#include "src/plan/common_prefix.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagoda {
namespace {

struct Known {
  int64_t prefix_len;
  int32_t reqs, num_heads, num_kv_heads, processors;
  bool uses;
};

TEST(UseCascadeAttention, AnswersAsKnown) {
  const Known all[] = {
      {255, 64, 32, 8, 132, false}, {256, 7, 32, 8, 132, false},   {256, 8, 32, 32, 132, true},
      {256, 8, 32, 8, 132, false},  {2048, 16, 32, 8, 132, false}, {2048, 17, 32, 8, 132, true},
      {2048, 64, 32, 8, 132, true}, {2048, 64, 32, 8, 108, true},  {4096, 32, 64, 8, 132, true}};
  for (const Known& it : all) {
    const std::vector<int32_t> lens(static_cast<size_t>(it.reqs), 1);
    EXPECT_EQ(use_cascade_attention({.prefix_len = it.prefix_len,
                                     .query_lens = lens.data(),
                                     .num_reqs = it.reqs,
                                     .num_heads = it.num_heads,
                                     .num_kv_heads = it.num_kv_heads,
                                     .num_multiprocessors = it.processors}),
              it.uses)
        << it.prefix_len << " keys, " << it.reqs << " requests, heads " << it.num_heads << "/"
        << it.num_kv_heads << ", " << it.processors << " processors";
  }
}

TEST(UseCascadeAttention, IsSureWhereARequestHasSeveralQueries) {
  const std::vector<int32_t> lens{1, 1, 1, 1, 1, 1, 1, 2};
  const CommonPrefix step{.prefix_len = 1024,
                          .query_lens = lens.data(),
                          .num_reqs = 8,
                          .num_heads = 32,
                          .num_kv_heads = 8,
                          .num_multiprocessors = 132};
  EXPECT_TRUE(use_cascade_attention(step));
  CommonPrefix other = step;
  other.has_alibi = true;
  EXPECT_FALSE(use_cascade_attention(other));
  other = step;
  other.has_window = true;
  EXPECT_FALSE(use_cascade_attention(other));
  other = step;
  other.is_chunked = true;
  EXPECT_FALSE(use_cascade_attention(other));
  other = step;
  other.num_context_ranks = 2;
  EXPECT_FALSE(use_cascade_attention(other));
}

TEST(CommonPrefixLen, EndsBeforeTheFirstNewTokenOfAnyRequestAtThePagesEnd) {
  const std::vector<int32_t> computed{100, 47, 64};
  EXPECT_EQ(common_prefix_len(8, 16, computed.data(), 1), 96);
  EXPECT_EQ(common_prefix_len(8, 16, computed.data(), 3), 32);
  EXPECT_EQ(common_prefix_len(1, 16, computed.data(), 3), 16);
  EXPECT_EQ(common_prefix_len(0, 16, computed.data(), 3), 0);
  EXPECT_EQ(common_prefix_len(8, 16, computed.data(), 0), 0);
  const std::vector<int32_t> fresh{100, 0};
  EXPECT_EQ(common_prefix_len(8, 16, fresh.data(), 2), 0);
  EXPECT_EQ(common_prefix_len(int64_t{1} << 40, 16, computed.data(), 1), 96);
}

}  // namespace
}  // namespace pagoda

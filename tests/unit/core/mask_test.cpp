// The visible range against the written definition, key by key.
#include "src/core/mask.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace pagoda {
namespace {

bool sees(const Mask& mask, int64_t p, int64_t j, int64_t seq_len) {
  if (j < 0 || j >= seq_len) return false;
  if (mask.causal && j > p) return false;
  if (mask.window_left >= 0 && j < p - mask.window_left) return false;
  if (!mask.causal && mask.window_right >= 0 && j > p + mask.window_right) return false;
  return true;
}

TEST(Mask, RangeIsTheDefinitionForAllSmallCases) {
  for (const bool causal : {false, true})
    for (int left = -1; left <= 9; ++left)
      for (int right = -1; right <= 9; ++right)
        for (int seq_len = 0; seq_len <= 8; ++seq_len)
          for (int p = -10; p < seq_len; ++p) {
            const Mask mask{causal, left, right};
            const KeyRange range = visible_keys(mask, p, seq_len);
            ASSERT_GE(range.begin, 0);
            ASSERT_LE(range.end, seq_len);
            for (int j = 0; j < seq_len; ++j)
              ASSERT_EQ(j >= range.begin && j < range.end, sees(mask, p, j, seq_len))
                  << causal << " " << left << " " << right << " " << seq_len << " " << p << " "
                  << j;
          }
}

TEST(Mask, WindowsAndPositionsOfAnySizeDoNotOverflow) {
  for (const bool causal : {false, true})
    for (const int32_t window : {0, 1, INT32_MAX - 1, INT32_MAX})
      for (const int32_t p : {INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1})
        for (const int32_t seq_len : {0, 1, INT32_MAX}) {
          const KeyRange range = visible_keys({causal, window, window}, p, seq_len);
          ASSERT_LE(0, range.begin);
          ASSERT_LE(range.begin, range.end);
          ASSERT_LE(range.end, seq_len);
          for (const int64_t j : {int64_t{0}, int64_t{p}, int64_t{seq_len} - 1})
            ASSERT_EQ(j >= range.begin && j < range.end,
                      sees({causal, window, window}, p, j, seq_len));
        }
}

TEST(Mask, TilesHaveTheUnionAndTheIntersectionOfTheirRows) {
  for (const bool causal : {false, true})
    for (int left = -1; left <= 5; ++left)
      for (int right = -1; right <= 5; ++right)
        for (int first = -3; first < 7; ++first)
          for (int last = first; last < 7; ++last) {
            const Mask mask{causal, left, right};
            const KeyRange any = any_visible(mask, first, last, 7);
            const KeyRange all = all_visible(mask, first, last, 7);
            for (int j = 0; j < 7; ++j) {
              bool some = false, every = true;
              for (int p = first; p <= last; ++p) {
                some = some || sees(mask, p, j, 7);
                every = every && sees(mask, p, j, 7);
              }
              ASSERT_TRUE(!some || (j >= any.begin && j < any.end));
              ASSERT_EQ(j >= all.begin && j < all.end, every);
            }
          }
}

TEST(Mask, ANonCausalRequestOfACausalWindowSeesAsFarAheadAsBack) {
  const Mask causal{.causal = true, .window_left = 3};
  EXPECT_EQ(mask_of_request(causal, true), causal);
  EXPECT_EQ(mask_of_request(causal, false), (Mask{false, 3, 3}));
  EXPECT_EQ(mask_of_request(Mask{.causal = true}, false), (Mask{false, -1, -1}));
  const Mask both{false, 4, 2};
  EXPECT_EQ(mask_of_request(both, false), both);
  EXPECT_EQ(mask_of_request(both, true), (Mask{true, 4, 2}));
}

static_assert(visible_keys(Mask{.causal = true}, 4, 9) == KeyRange{0, 5});
static_assert(visible_keys(Mask{.causal = true, .window_left = 0}, 4, 9) == KeyRange{4, 5});

}  // namespace
}  // namespace pagoda

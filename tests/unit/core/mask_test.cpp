// visible_keys against the sentence of pagoda_spec, key by key: j is shown to p if 0 <= j <
// seq_len, j <= p where causal, and p - window_left <= j <= p + window_right, each window only
// where it is not -1.
#include "src/core/mask.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagoda {
namespace {

constexpr int32_t kHuge = INT32_MAX;

bool shows(const Mask& mask, int64_t p, int64_t j, int64_t seq_len) {
  if (j < 0 || j >= seq_len) return false;
  if (mask.causal && j > p) return false;
  if (mask.window_left != -1 && j < p - mask.window_left) return false;
  if (mask.window_right != -1 && j > p + mask.window_right) return false;
  return true;
}

std::vector<Mask> all_masks() {
  std::vector<Mask> masks;
  for (bool causal : {true, false})
    for (int32_t left : {-1, 0, 1, 2, 5, 9, 40, kHuge - 1, kHuge})
      for (int32_t right : {-1, 0, 1, 3, 9, 40, kHuge - 1, kHuge})
        masks.push_back({.causal = causal, .window_left = left, .window_right = right});
  return masks;
}

// Lengths with more queries than keys have negative positions, down to 1 - query_len.
TEST(Mask, IsTheWrittenDefinition) {
  for (const Mask& mask : all_masks())
    for (int32_t seq_len : {0, 1, 2, 7, 12})
      for (int32_t position = -9; position < seq_len; ++position) {
        const KeyRange keys = visible_keys(mask, position, seq_len);
        ASSERT_GE(keys.begin, 0);
        ASSERT_GE(keys.end, keys.begin);
        ASSERT_LE(keys.empty() ? 0 : keys.end, seq_len);
        for (int32_t j = -2; j < seq_len + 3; ++j)
          ASSERT_EQ(j >= keys.begin && j < keys.end, shows(mask, position, j, seq_len))
              << "causal " << mask.causal << " left " << mask.window_left << " right "
              << mask.window_right << " p " << position << " j " << j << " of " << seq_len;
      }
}

TEST(Mask, DoesNotOverflowAtTheEndsOfInt32) {
  for (const Mask& mask : all_masks())
    for (int32_t seq_len : {kHuge, kHuge - 1})
      for (int32_t position : {INT32_MIN + 1, -1, 0, seq_len - 1}) {
        const KeyRange keys = visible_keys(mask, position, seq_len);
        for (int64_t j : {int64_t{keys.begin} - 1, int64_t{keys.begin}, int64_t{keys.end} - 1,
                          int64_t{keys.end}})
          ASSERT_EQ(j >= keys.begin && j < keys.end, shows(mask, position, j, seq_len));
      }
}

TEST(Mask, QueriesBeforeTheFirstKeySeeNothingUnderACausalMask) {
  EXPECT_TRUE(visible_keys({.causal = true}, -1, 5).empty());
  EXPECT_FALSE(visible_keys({.causal = false}, -1, 5).empty());
}

TEST(Mask, AnyAndAllAreUnionAndIntersection) {
  for (const Mask& mask : all_masks())
    for (int32_t seq_len : {1, 7, 12})
      for (int32_t first = -5; first < seq_len; ++first)
        for (int32_t last = first; last < seq_len; ++last) {
          const KeyRange any = any_visible(mask, first, last, seq_len);
          const KeyRange all = all_visible(mask, first, last, seq_len);
          for (int32_t j = 0; j < seq_len; ++j) {
            int seen = 0;
            for (int32_t p = first; p <= last; ++p) seen += shows(mask, p, j, seq_len);
            if (seen > 0) {
              ASSERT_TRUE(j >= any.begin && j < any.end);
            }
            ASSERT_EQ(j >= all.begin && j < all.end, seen == last - first + 1);
          }
        }
}

TEST(Mask, ARequestThatIsNotCausalHasASymmetricWindow) {
  const Mask causal{.causal = true, .window_left = 4, .window_right = 7};
  EXPECT_EQ(mask_of_request(causal, true), causal);
  EXPECT_EQ(mask_of_request(causal, false),
            (Mask{.causal = false, .window_left = 4, .window_right = 4}));
  const Mask unbounded{.causal = true};
  EXPECT_EQ(mask_of_request(unbounded, false), (Mask{.causal = false}));
  const Mask encoder{.causal = false, .window_left = 4, .window_right = 7};
  EXPECT_EQ(mask_of_request(encoder, false), encoder);
  EXPECT_EQ(mask_of_request(encoder, true),
            (Mask{.causal = true, .window_left = 4, .window_right = 7}));
}

}  // namespace
}  // namespace pagoda

#include "src/core/state.h"

#include <gtest/gtest.h>

#include <random>

namespace pagoda {
namespace {

constexpr float kEmpty = minus_infinity<float>();
constexpr float kInf = -kEmpty;

TEST(State, LseOfNothingIsMinusInfinity) {
  EXPECT_EQ(lse_of(kEmpty, 0.0f), kEmpty);
  EXPECT_FLOAT_EQ(lse_of(2.0f, 1.0f), 2.0f);
  EXPECT_TRUE(std::isnan(lse_of(0.0f, NAN)));  // a NaN that was summed stays seen
}

TEST(State, WeightOfAnEmptyScoreIsZero) {
  EXPECT_EQ(weight_of(kEmpty, kEmpty), 0.0f);
  EXPECT_EQ(weight_of(kEmpty, 3.0f), 0.0f);
  EXPECT_EQ(weight_of(3.0f, 3.0f), 1.0f);
}

TEST(State, TheEmptyStateIsNeutralBitForBit) {
  for (const float lse : {-1e5f, -1.0f, 0.0f, 0.3f, 88.0f, 3e38f})
    for (const float empty : {kEmpty, kInf}) {
      const MergeWeights<float> right = merge_weights(lse, empty), left = merge_weights(empty, lse);
      EXPECT_EQ(right.a, 1.0f);
      EXPECT_EQ(right.b, 0.0f);
      EXPECT_EQ(right.lse, lse);
      EXPECT_EQ(left.a, 0.0f);
      EXPECT_EQ(left.b, 1.0f);
      EXPECT_EQ(left.lse, lse);
    }
}

TEST(State, TwoEmptyStatesAreEmpty) {
  for (const float a : {kEmpty, kInf})
    for (const float b : {kEmpty, kInf}) {
      const MergeWeights<float> both = merge_weights(a, b);
      EXPECT_EQ(both.a, 0.0f);
      EXPECT_EQ(both.b, 0.0f);
      EXPECT_EQ(both.lse, kEmpty);
    }
}

TEST(State, MergeCommutesBitForBitAndAssociatesWithinRounding) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> draw(-40, 40);
  for (int i = 0; i < 100000; ++i) {
    const float a = draw(random), b = draw(random), c = draw(random);
    const MergeWeights<float> ab = merge_weights(a, b), ba = merge_weights(b, a);
    ASSERT_EQ(ab.a, ba.b);
    ASSERT_EQ(ab.lse, ba.lse);
    ASSERT_NEAR(ab.a + ab.b, 1.0f, 2e-7f);
    const float left = merge_weights(ab.lse, c).lse;
    const float right = merge_weights(a, merge_weights(b, c).lse).lse;
    ASSERT_NEAR(left, right, 2e-5f);
  }
}

TEST(State, MergeOfEqualStatesAddsLnTwo) {
  const MergeWeights<double> both = merge_weights(5.0, 5.0);
  EXPECT_DOUBLE_EQ(both.a, 0.5);
  EXPECT_DOUBLE_EQ(both.lse, 5 + std::log(2.0));
}

}  // namespace
}  // namespace pagoda

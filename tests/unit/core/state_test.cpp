// Merging of states: the neutral element, order, and rows without keys, exactly.
#include "src/core/state.h"

#include <gtest/gtest.h>

#include <random>

namespace pagoda {
namespace {

constexpr double kEmpty = -std::numeric_limits<double>::infinity();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class Real>
class State : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(State, Reals);

TYPED_TEST(State, AnEmptyStateIsNeutralToTheBit) {
  using Real = TypeParam;
  for (Real lse : {Real(0), Real(-1e30), Real(3.25), Real(88), Real(-104), Real(1e5)})
    for (Real empty : {static_cast<Real>(kEmpty), static_cast<Real>(kInfinity)}) {
      const MergeWeights<Real> right = merge_weights(lse, empty), left = merge_weights(empty, lse);
      EXPECT_EQ(right.a, 1);
      EXPECT_EQ(right.b, 0);
      EXPECT_EQ(right.lse, lse);
      EXPECT_EQ(left.a, 0);
      EXPECT_EQ(left.b, 1);
      EXPECT_EQ(left.lse, lse);
    }
}

TYPED_TEST(State, TwoEmptyStatesAreEmpty) {
  using Real = TypeParam;
  for (double a : {kEmpty, kInfinity})
    for (double b : {kEmpty, kInfinity}) {
      const auto weights = merge_weights(static_cast<Real>(a), static_cast<Real>(b));
      EXPECT_EQ(weights.a, 0);
      EXPECT_EQ(weights.b, 0);
      EXPECT_EQ(weights.lse, static_cast<Real>(kEmpty));
    }
}

TYPED_TEST(State, MergingCommutesToTheBitAndWeightsSumToOne) {
  using Real = TypeParam;
  std::mt19937_64 random(5);
  std::uniform_real_distribution<Real> spread(-200, 200);
  for (int i = 0; i < 100000; ++i) {
    const Real a = spread(random), b = i % 3 == 0 ? a : spread(random);
    const MergeWeights<Real> ab = merge_weights(a, b), ba = merge_weights(b, a);
    ASSERT_EQ(ab.a, ba.b);
    ASSERT_EQ(ab.b, ba.a);
    ASSERT_EQ(ab.lse, ba.lse);
    ASSERT_NEAR(ab.a + ab.b, 1, 2 * std::numeric_limits<Real>::epsilon());
    ASSERT_GE(ab.lse, std::max(a, b));
  }
}

TYPED_TEST(State, EqualStatesWeighOneHalfAndAddLnTwo) {
  using Real = TypeParam;
  const auto weights = merge_weights(Real(2), Real(2));
  EXPECT_EQ(weights.a, Real(0.5));
  EXPECT_EQ(weights.b, Real(0.5));
  EXPECT_NEAR(weights.lse, 2 + std::log(2.0), 1e-6);
}

TEST(StateFunctions, MergingIsAssociativeWithinRounding) {
  std::mt19937_64 random(6);
  std::uniform_real_distribution<double> spread(-30, 30);
  for (int i = 0; i < 10000; ++i) {
    const double a = spread(random), b = spread(random), c = spread(random);
    const double left = merge_weights(merge_weights(a, b).lse, c).lse;
    const double right = merge_weights(a, merge_weights(b, c).lse).lse;
    ASSERT_NEAR(left, right, 1e-13 * std::max(1.0, std::abs(left)));
  }
}

TEST(StateFunctions, ANaNIsNotMistakenForAnEmptyState) {
  EXPECT_TRUE(std::isnan(merge_weights(std::nan(""), 1.0).lse));
  EXPECT_TRUE(std::isnan(merge_weights(1.0, std::nan("")).a));
}

TEST(StateFunctions, LseOfNothingIsMinusInfinity) {
  EXPECT_EQ(lse_of(kEmpty, 0.0), kEmpty);
  EXPECT_EQ(lse_of(3.0, 1.0), 3.0);
  EXPECT_TRUE(std::isnan(lse_of(0.0, std::nan(""))));
}

TEST(StateFunctions, WeightOfAHiddenLogitIsZero) {
  EXPECT_EQ(weight_of(kEmpty, kEmpty), 0.0);
  EXPECT_EQ(weight_of(kEmpty, 5.0), 0.0);
  EXPECT_EQ(weight_of(5.0, 5.0), 1.0);
  EXPECT_EQ(weight_of(-1e5, 5.0), 0.0);
}

}  // namespace
}  // namespace pagoda

// From a dot product to a logit: scale, soft-cap, ALiBi, in this order.
#include "src/core/score.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

TEST(Score, ScalesThenCapsThenAddsTheBias) {
  const Score score{.scale = 0.5f, .softcap = 3.0f, .alibi = Alibi::linear};
  EXPECT_DOUBLE_EQ(logit(score, 8.0, 0.25, 10, 6), 3 * std::tanh(4.0 / 3) - 1);
}

TEST(Score, WithoutSoftcapIsNotCapped) {
  EXPECT_DOUBLE_EQ(logit(Score{.scale = 2.0f}, 100.0, 0.0, 0, 0), 200.0);
}

TEST(Score, SoftcapSaturates) {
  for (float s : {1e3f, 1e10f, 3e38f, HUGE_VALF}) {
    EXPECT_EQ(apply_softcap(s, 5.0f), 5.0f);
    EXPECT_EQ(apply_softcap(-s, 5.0f), -5.0f);
  }
  EXPECT_EQ(apply_softcap(0.0f, 5.0f), 0.0f);
}

TEST(Score, LinearAlibiIsRelativeAndHasItsSign) {
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::linear, 0.5, 10, 10), 0.0);
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::linear, 0.5, 10, 4), -3.0);
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::linear, 0.5, 10, 12), 1.0);
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::linear, 0.5, -3, 1), 2.0);
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::none, 0.5, 10, 4), 0.0);
}

TEST(Score, SqrtAlibiIsZeroAhead) {
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::sqrt, 0.5, 10, 1), -1.5);
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::sqrt, 0.5, 10, 10), 0.0);
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::sqrt, 0.5, 10, 11), 0.0);
}

// Distances beyond int32 occur with negative positions; the difference is taken in Real.
TEST(Score, DistancesDoNotOverflow) {
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::linear, 1.0, INT32_MIN, INT32_MAX), 4294967295.0);
}

}  // namespace
}  // namespace pagoda

#include "src/core/score.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

TEST(Score, SoftcapSaturatesAndNeverGivesNan) {
  for (const float s : {0.0f, 1.0f, -1.0f, 100.0f, -1e5f, 1e30f, -1e38f}) {
    const float capped = apply_softcap(s, 5.0f);
    EXPECT_LE(std::fabs(capped), 5.0f);
    EXPECT_FALSE(std::isnan(capped));
  }
  EXPECT_FLOAT_EQ(apply_softcap(1e30f, 5.0f), 5.0f);
  EXPECT_EQ(apply_softcap(123.0f, 0.0f), 123.0f);  // 0: none
  EXPECT_NEAR(apply_softcap(0.001, 50.0), 0.001, 1e-12);
}

TEST(Score, AlibiIsRelativeToTheQuery) {
  EXPECT_EQ(alibi_bias(Alibi::none, 0.5, 10, 3), 0.0);
  EXPECT_EQ(alibi_bias(Alibi::linear, 0.5, 10, 3), -3.5);
  EXPECT_EQ(alibi_bias(Alibi::linear, 0.5, 10, 10), 0.0);
  EXPECT_EQ(alibi_bias(Alibi::linear, 0.5, 3, 10), 3.5);
  EXPECT_EQ(alibi_bias(Alibi::sqrt, 0.5, 10, 1), -1.5);
  EXPECT_EQ(alibi_bias(Alibi::sqrt, 0.5, 1, 10), 0.0);
}

// Scale, then cap, then bias: any other order gives another number here.
TEST(Score, OrderIsScaleCapBias) {
  const Score score{.scale = 2, .softcap = 3, .alibi = Alibi::linear};
  EXPECT_DOUBLE_EQ(logit(score, 5.0, 0.5, 10, 4), 3 * std::tanh(10.0 / 3) - 3);
}

TEST(Score, PositionsOfOppositeEndsDoNotOverflow) {
  EXPECT_DOUBLE_EQ(alibi_bias(Alibi::linear, 1.0, -2147483647, 2147483647), 4294967294.0);
}

}  // namespace
}  // namespace pagoda

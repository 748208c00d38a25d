// The oracle against itself in more precision, and against answers that need no computation.
#include "oracle.h"

#include <gtest/gtest.h>

#include <cmath>

namespace pagoda::conformance {
namespace {

TEST(Oracle, DoubleIsAsGoodAsLongDouble) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const Geometry geometry = draw_geometry(seed);
    const Values values = draw_values(geometry, seed);
    const Expected a = attend<double>(geometry, values), b = attend<long double>(geometry, values);
    for (size_t row = 0; row < a.rows.size(); ++row) {
      if (a.rows[row].is_nan) continue;
      const double eps = 0x1p-53 * (a.rows[row].logit_condition + a.rows[row].num_keys + 8);
      if (std::isfinite(a.rows[row].lse)) {
        ASSERT_NEAR(a.rows[row].lse, b.rows[row].lse, eps * std::fmax(1, std::abs(a.rows[row].lse)))
            << seed;
      }
      const auto dim = static_cast<size_t>(geometry.head_dim_v);
      for (size_t e = row * dim; e < (row + 1) * dim; ++e) {
        ASSERT_NEAR(a.out[e], b.out[e], 4 * eps * a.weighted[e] + 1e-300) << seed;
      }
    }
  }
}

Geometry one_request(int32_t query_len, int32_t seq_len) {
  Geometry g;
  g.requests = {{.query_len = query_len, .seq_len = seq_len}};
  return g;
}

TEST(Oracle, ZeroQueriesGiveTheMeanOfWhatIsSeen) {
  Geometry g = one_request(1, 5);
  g.regime = Regime::zero_query;
  g.window_kind = WindowKind::left;
  g.window_left = 2;
  const Values values = draw_values(g, 1);
  const Expected expected = attend<double>(g, values);
  for (size_t e = 0; e < 8; ++e) {
    const std::vector<float>& v = values.requests[0].value;
    EXPECT_NEAR(expected.out[e], (double{v[2 * 8 + e]} + v[3 * 8 + e] + v[4 * 8 + e]) / 3, 1e-15);
  }
  EXPECT_NEAR(expected.rows[0].lse, std::log(3.0), 1e-15);
}

TEST(Oracle, WindowZeroIsTheOwnValue) {
  Geometry g = one_request(4, 4);
  g.window_kind = WindowKind::zero;
  g.window_left = g.window_right = 0;
  const Values values = draw_values(g, 2);
  const Expected expected = attend<double>(g, values);
  for (size_t i = 0; i < expected.out.size(); ++i)
    EXPECT_EQ(expected.out[i], double{values.requests[0].value[i]});
}

TEST(Oracle, QueriesBeforeTheFirstKeySeeNothing) {
  const Geometry g = one_request(3, 1);
  const Expected expected = attend<double>(g, draw_values(g, 3));
  EXPECT_TRUE(expected.rows[0].empty);
  EXPECT_TRUE(expected.rows[1].empty);
  EXPECT_FALSE(expected.rows[2].empty);
  EXPECT_EQ(expected.rows[0].lse, -HUGE_VAL);
}

}  // namespace
}  // namespace pagoda::conformance

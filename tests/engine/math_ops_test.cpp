// The small operations against their formulas in double, and conversions exhaustively.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "engine/formats/quants.h"
#include "engine/math/convert.h"
#include "engine/math/ops.h"
#include "engine/math/rope.h"

namespace pagoda::engine {
namespace {

std::vector<float> random_floats(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  std::vector<float> values(count);
  for (float& value : values) value = number(random);
  return values;
}

TEST(Ops, FastExpIsWithinTwoUnitsInTheLastPlace) {
  double worst = 0;
  for (float x = -87; x < 88; x += 0.00037f) {
    const double exact = std::exp(double{x});
    const auto rounded = static_cast<float>(exact);
    const double ulp = std::nextafter(rounded, 2 * rounded) - rounded;
    worst = std::max(worst, std::abs(fast_exp(x) - exact) / ulp);
  }
  EXPECT_LT(worst, 2.0);
  EXPECT_EQ(fast_exp(0), 1.0f);
  EXPECT_GT(fast_exp(-1000), 0.0f);
  EXPECT_LT(fast_exp(-1000), 1e-37f);
  EXPECT_GT(fast_exp(1000), 1e38f);
}

TEST(Ops, RmsNormFollowsItsFormulaForEveryTail) {
  for (size_t size = 1; size <= 70; size++) {
    const std::vector<float> in = random_floats(size, 1), weight = random_floats(size, 2);
    std::vector<float> out(size);
    rms_norm(in.data(), weight.data(), 1e-5f, static_cast<int64_t>(size), out.data());
    double squares = 0;
    for (float x : in) squares += double{x} * x;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(size) + 1e-5);
    for (size_t i = 0; i < size; i++)
      EXPECT_NEAR(out[i], in[i] * scale * weight[i], 1e-6 * (1 + std::abs(out[i])));
  }
}

TEST(Ops, SiluTimesFollowsItsFormulaAndStaysFinite) {
  std::vector<float> gate = random_floats(100, 3), up = random_floats(100, 4), out(100);
  gate[0] = -1e4f;
  gate[1] = 1e4f;
  silu_times(gate.data(), up.data(), 100, out.data());
  for (size_t i = 0; i < 100; i++) {
    const double exact = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
    EXPECT_NEAR(out[i], exact, 1e-6 * (1 + std::abs(exact))) << gate[i];
  }
}

// Rotating position p against position q gives products that depend on p - q alone: the property
// that the embedding exists for (Su et al. 2021, equation 11).
TEST(Rope, ProductsDependOnTheDistanceAlone) {
  for (RopeStyle style : {RopeStyle::kInterleaved, RopeStyle::kHalves}) {
    const Rope rope({.style = style, .num_dims = 16}, 200);
    const std::vector<float> q = random_floats(16, 5), k = random_floats(16, 6);
    const auto product = [&](int64_t p, int64_t j) {
      std::vector<float> a = q, b = k;
      rope.rotate(a.data(), 1, 16, p);
      rope.rotate(b.data(), 1, 16, j);
      double sum = 0;
      for (size_t i = 0; i < 16; i++) sum += double{a[i]} * b[i];
      return sum;
    };
    EXPECT_NEAR(product(100, 93), product(7, 0), 1e-5);
    EXPECT_NEAR(product(150, 20), product(131, 1), 1e-5);
    EXPECT_GT(std::abs(product(9, 0) - product(7, 0)), 1e-3);
  }
}

TEST(Rope, PairsFactorsAndMagnitudeAreAsTheConfigSays) {
  const RopeConfig config = {.style = RopeStyle::kHalves,
                             .num_dims = 4,
                             .theta = 100.0,
                             .frequency_factors = {1.0f, 4.0f},
                             .magnitude = 1.5f};
  const Rope rope(config, 10);
  std::vector<float> head = {1, 2, 3, 4, 5, 6};  // the last two are not rotated
  rope.rotate(head.data(), 1, 6, 3);
  const double angles[] = {3.0, 3.0 / 10.0 / 4.0};
  for (size_t i = 0; i < 2; i++) {
    const double a = static_cast<double>(i) + 1, b = static_cast<double>(i) + 3;
    EXPECT_NEAR(head[i], 1.5 * (a * std::cos(angles[i]) - b * std::sin(angles[i])), 1e-6);
    EXPECT_NEAR(head[i + 2], 1.5 * (a * std::sin(angles[i]) + b * std::cos(angles[i])), 1e-6);
  }
  EXPECT_EQ(head[4], 5);
  EXPECT_EQ(head[5], 6);
}

TEST(Rope, InterleavedIsHalvesOfReorderedElements) {
  const Rope interleaved({.style = RopeStyle::kInterleaved, .num_dims = 8}, 50);
  const Rope halves({.style = RopeStyle::kHalves, .num_dims = 8}, 50);
  std::vector<float> a = random_floats(8, 7), b(8);
  for (size_t i = 0; i < 4; i++) {
    b[i] = a[2 * i];
    b[i + 4] = a[2 * i + 1];
  }
  interleaved.rotate(a.data(), 1, 8, 41);
  halves.rotate(b.data(), 1, 8, 41);
  for (size_t i = 0; i < 4; i++) {
    EXPECT_EQ(a[2 * i], b[i]);
    EXPECT_EQ(a[2 * i + 1], b[i + 4]);
  }
}

bool is_nan16(uint32_t bits, uint32_t exponent) {
  return (bits & exponent) == exponent && (bits & 0x7fff) != exponent;
}

TEST(Convert, EverySixteenBitValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; bits++) {
    const auto value = static_cast<uint16_t>(bits);
    const uint16_t half = float_to_half(half_to_float(value));
    const uint16_t bfloat = float_to_bfloat(bfloat_to_float(value));
    if (is_nan16(bits, 0x7c00))
      EXPECT_TRUE(is_nan16(half, 0x7c00)) << bits;
    else
      EXPECT_EQ(half, value);
    if (is_nan16(bits, 0x7f80))
      EXPECT_TRUE(is_nan16(bfloat, 0x7f80)) << bits;
    else
      EXPECT_EQ(bfloat, value);
  }
}

// Between two neighbours: below the middle down, above it up, the middle itself to the even one.
template <class To, class From>
void expect_nearest_even(const To& to_bits, const From& to_float, uint32_t last_finite) {
  for (uint32_t bits = 0; bits < last_finite; bits++) {
    const float low = to_float(static_cast<uint16_t>(bits));
    const float high = to_float(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((double{low} + high) / 2);
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(to_bits(middle), even) << bits;
    ASSERT_EQ(to_bits(std::nextafter(middle, low)), bits);
    ASSERT_EQ(to_bits(std::nextafter(middle, high)), bits + 1);
    ASSERT_EQ(to_bits(-middle), even | 0x8000);
  }
}

TEST(Convert, RoundsToNearestEven) {
  expect_nearest_even(float_to_half, half_to_float, 0x7bff);
  expect_nearest_even(float_to_bfloat, bfloat_to_float, 0x7f7f);
  EXPECT_EQ(float_to_half(65519.996f), 0x7bff);
  EXPECT_EQ(float_to_half(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_half(-1e30f), 0xfc00);
}

}  // namespace
}  // namespace pagoda::engine

// Conversions of 16-bit floats, over all their values and over the halves between them.
#include "src/core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace pagoda {
namespace {

// The value of a 16-bit float by its definition: sign, exponent, mantissa.
double value_by_definition(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? NAN : sign * INFINITY;
  const double fraction = std::ldexp(static_cast<double>(mantissa), -mantissa_bits);
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias);
  return sign * std::ldexp(1 + fraction, exponent - bias);
}

template <class T>
struct Format;
template <>
struct Format<Half> {
  static constexpr int kExponent = 5, kMantissa = 10;
};
template <>
struct Format<Bfloat16> {
  static constexpr int kExponent = 8, kMantissa = 7;
};

template <class T>
double exact(uint16_t bits) {
  return value_by_definition(bits, Format<T>::kExponent, Format<T>::kMantissa);
}

template <class T>
class SixteenBits : public ::testing::Test {};
using Types = ::testing::Types<Half, Bfloat16>;
TYPED_TEST_SUITE(SixteenBits, Types);

TYPED_TEST(SixteenBits, EveryValueReadsAsDefined) {
  for (int bits = 0; bits < 65536; ++bits) {
    const double expected = exact<TypeParam>(static_cast<uint16_t>(bits));
    const float read = to_float(TypeParam{static_cast<uint16_t>(bits)});
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(read)) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(read), expected) << bits;
      ASSERT_EQ(std::signbit(read), std::signbit(expected)) << bits;
    }
  }
}

TYPED_TEST(SixteenBits, EveryValueSurvivesTheWayThereAndBack) {
  for (int i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = to_float(TypeParam{bits});
    const uint16_t back = from_float<TypeParam>(value).bits;
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(to_float(TypeParam{back}))) << bits;
    else
      ASSERT_EQ(back, bits);
  }
}

// Between neighbours a and b: what is nearer to a becomes a, and the half goes to the even one.
TYPED_TEST(SixteenBits, RoundsToNearestEven) {
  for (uint16_t bits = 0; exact<TypeParam>(static_cast<uint16_t>(bits + 1)) < INFINITY; ++bits) {
    const auto next = static_cast<uint16_t>(bits + 1);
    const double a = exact<TypeParam>(bits), b = exact<TypeParam>(next);
    const auto half = static_cast<float>((a + b) / 2);
    ASSERT_EQ(static_cast<double>(half), (a + b) / 2);  // one more bit always fits in a float
    const auto rounded = [](float x) { return from_float<TypeParam>(x).bits; };
    EXPECT_EQ(rounded(half), bits % 2 == 0 ? bits : next);
    EXPECT_EQ(rounded(std::nextafter(half, 0.0f)), bits);
    EXPECT_EQ(rounded(std::nextafter(half, INFINITY)), next);
    EXPECT_EQ(rounded(-half), (bits % 2 == 0 ? bits : next) | 0x8000);
  }
}

TYPED_TEST(SixteenBits, OverflowsToInfinityFromHalfAStepBeyondTheLargest) {
  uint16_t largest = 0;
  while (exact<TypeParam>(static_cast<uint16_t>(largest + 1)) < INFINITY) ++largest;
  const double step =
      exact<TypeParam>(largest) - exact<TypeParam>(static_cast<uint16_t>(largest - 1));
  const double edge = exact<TypeParam>(largest) + step / 2;
  const auto at_edge = static_cast<float>(edge);
  EXPECT_TRUE(std::isinf(to_float(from_float<TypeParam>(at_edge))));
  EXPECT_EQ(from_float<TypeParam>(std::nextafter(at_edge, 0.0f)).bits, largest);
  EXPECT_TRUE(std::isinf(to_float(from_float<TypeParam>(INFINITY))));
  EXPECT_TRUE(std::isnan(to_float(from_float<TypeParam>(NAN))));
}

TYPED_TEST(SixteenBits, RandomFloatsGoToANearestValue) {
  std::mt19937 random(7);
  for (int i = 0; i < 200000; ++i) {
    const float value = float_from_bits(static_cast<uint32_t>(random()));
    const uint16_t bits = from_float<TypeParam>(value).bits;
    if (std::isnan(value) || std::isinf(to_float(TypeParam{bits}))) continue;
    const double distance = std::fabs(exact<TypeParam>(bits) - static_cast<double>(value));
    for (const int delta : {-1, 1}) {
      const auto neighbour = static_cast<uint16_t>(bits + delta);
      if ((neighbour & 0x8000) != (bits & 0x8000) || std::isinf(exact<TypeParam>(neighbour)))
        continue;
      ASSERT_LE(distance, std::fabs(exact<TypeParam>(neighbour) - static_cast<double>(value)));
    }
  }
}

TEST(Dtype, NamesAndSizes) {
  EXPECT_EQ(size_of(PAGODA_F32), 4u);
  EXPECT_EQ(size_of(PAGODA_F16), 2u);
  EXPECT_EQ(size_of(PAGODA_BF16), 2u);
  EXPECT_EQ(size_of(PAGODA_INT8), 1u);
  EXPECT_STREQ(name_of(PAGODA_FP8_E4M3), "fp8_e4m3");
  EXPECT_FALSE(is_known(static_cast<Dtype>(5)));
}

}  // namespace
}  // namespace pagoda

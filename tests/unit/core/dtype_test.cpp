// The 16-bit conversions against formulas that share nothing with them: a value is sign * mantissa
// * 2^exponent by ldexp, and rounding is nearbyint of the quotient by the last kept bit, in double,
// where both are exact.
#include "src/core/dtype.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <limits>
#include <random>

namespace pagoda {
namespace {

struct HalfFormat {
  using Type = Half;
  static constexpr int kMantissaBits = 10, kExponentBits = 5;
};
struct Bfloat16Format {
  using Type = Bfloat16;
  static constexpr int kMantissaBits = 7, kExponentBits = 8;
};

template <class Format>
class Conversion : public ::testing::Test {
 protected:
  using Type = typename Format::Type;
  static constexpr int kMantissa = Format::kMantissaBits;
  static constexpr int kSpecial = (1 << Format::kExponentBits) - 1;
  static constexpr int kBias = kSpecial / 2;

  static double decode(uint32_t bits) {
    const int mantissa = static_cast<int>(bits & ((1u << kMantissa) - 1));
    const int exponent = static_cast<int>(bits >> kMantissa) & kSpecial;
    const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
    if (exponent == kSpecial)
      return mantissa != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - kBias - kMantissa);
    return sign * std::ldexp((1 << kMantissa) + mantissa, exponent - kBias - kMantissa);
  }

  // The nearest value of the format, ties to the even one.
  static double nearest(double x) {
    if (x == 0 || !std::isfinite(x)) return x;
    const int lowest = 1 - kBias;
    const int exponent = std::max(std::ilogb(x), lowest);
    const double last_bit = std::ldexp(1.0, exponent - kMantissa);
    const double rounded = std::nearbyint(x / last_bit) * last_bit;
    const double largest = std::ldexp((2 << kMantissa) - 1, kBias - kMantissa);
    return std::abs(rounded) > largest ? std::copysign(HUGE_VAL, x) : rounded;
  }

  static void check_rounding(float x) {
    const double got = static_cast<double>(to_float(from_float<Type>(x)));
    const double wanted = nearest(static_cast<double>(x));
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(got));
    } else {
      ASSERT_EQ(got, wanted) << "for " << std::hexfloat << x;
    }
    ASSERT_EQ(std::signbit(got), std::signbit(x)) << "for " << std::hexfloat << x;
  }
};

using Formats = ::testing::Types<HalfFormat, Bfloat16Format>;
TYPED_TEST_SUITE(Conversion, Formats);

TYPED_TEST(Conversion, EveryValueIsItsFormula) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const double got = to_float(typename TypeParam::Type{static_cast<uint16_t>(bits)});
    const double wanted = this->decode(bits);
    if (std::isnan(wanted)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
    } else {
      ASSERT_EQ(got, wanted) << bits;
    }
    ASSERT_EQ(std::signbit(got), (bits & 0x8000u) != 0) << bits;
  }
}

TYPED_TEST(Conversion, EveryValueComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = to_float(typename TypeParam::Type{static_cast<uint16_t>(bits)});
    const uint16_t back = from_float<typename TypeParam::Type>(value).bits;
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(to_float(typename TypeParam::Type{back}))) << bits;
    } else {
      ASSERT_EQ(back, bits);
    }
  }
}

// Between any two neighbours: the midpoint goes to the even one, and a float's last bit off it
// decides.
TYPED_TEST(Conversion, HalfwayBetweenAllNeighbours) {
  for (uint32_t bits = 0; bits < 65535; ++bits) {
    const double low = this->decode(bits), high = this->decode(bits + 1);
    if (!std::isfinite(low) || std::isnan(high)) continue;
    // The step beyond the largest finite value is as wide as the one before it.
    const double next = std::isinf(high) ? low + (low - this->decode(bits - 1)) : high;
    const float middle = static_cast<float>((low + next) / 2);
    this->check_rounding(middle);
    this->check_rounding(std::nextafter(middle, 0.0f));
    this->check_rounding(std::nextafter(middle, std::copysign(HUGE_VALF, middle)));
    if (this->HasFatalFailure()) return;
  }
}

TYPED_TEST(Conversion, RandomBitsAndTheEdgesOfFloat) {
  using Limits = std::numeric_limits<float>;
  for (float x : {0.0f, -0.0f, Limits::max(), -Limits::max(), Limits::min(), Limits::denorm_min(),
                  -Limits::denorm_min(), Limits::infinity(), -Limits::infinity(),
                  Limits::quiet_NaN(), -Limits::quiet_NaN(), float_from_bits(0x7f800001u)})
    this->check_rounding(x);
  std::mt19937 random(4);
  for (int i = 0; i < 1000000; ++i) {
    this->check_rounding(float_from_bits(static_cast<uint32_t>(random())));
    if (this->HasFatalFailure()) return;
  }
}

TEST(Dtype, SizesAndNames) {
  EXPECT_EQ(size_of(PAGODA_F32), 4u);
  EXPECT_EQ(size_of(PAGODA_F16), 2u);
  EXPECT_EQ(size_of(PAGODA_BF16), 2u);
  EXPECT_EQ(size_of(PAGODA_FP8_E4M3), 1u);
  EXPECT_EQ(size_of(PAGODA_INT8), 1u);
  EXPECT_STREQ(name_of(PAGODA_BF16), "bf16");
  EXPECT_STREQ(name_of(static_cast<Dtype>(77)), "unknown");
  EXPECT_TRUE(is_known(PAGODA_INT8));
  EXPECT_FALSE(is_known(static_cast<Dtype>(5)));
  EXPECT_FALSE(is_known(static_cast<Dtype>(-1)));
}

}  // namespace
}  // namespace pagoda

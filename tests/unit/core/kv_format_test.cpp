// The rules of quantised caches: e4m3 over all its codes, the scale rule, rounding, and what
// becomes of numbers that are not finite.
#include "src/core/kv_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace pagoda {
namespace {

// By the definition of the format: (-1)^s * 2^(e - 7) * (1 + m / 8), subnormals below 2^-6.
double e4m3_by_definition(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double sign = code & 128 ? -1 : 1;
  if (exponent == 15 && mantissa == 7) return NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa / 8.0, -6);
  return sign * std::ldexp(1 + mantissa / 8.0, exponent - 7);
}

TEST(E4m3, EveryCodeReadsAsDefinedAndSurvives) {
  for (int code = 0; code < 256; ++code) {
    const double expected = e4m3_by_definition(code);
    const float read = to_float(E4m3{static_cast<uint8_t>(code)});
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(read));
      EXPECT_EQ(from_float<E4m3>(read).bits & 0x7f, 0x7f);
    } else {
      EXPECT_EQ(static_cast<double>(read), expected) << code;
      EXPECT_EQ(from_float<E4m3>(read).bits, code);
    }
  }
}

TEST(E4m3, RoundsToNearestEvenAndSaturates) {
  for (int code = 0; code < 0x7e; ++code) {
    const auto half =
        static_cast<float>((e4m3_by_definition(code) + e4m3_by_definition(code + 1)) / 2);
    EXPECT_EQ(from_float<E4m3>(half).bits, code % 2 == 0 ? code : code + 1);
    EXPECT_EQ(from_float<E4m3>(std::nextafter(half, 0.0f)).bits, code);
    EXPECT_EQ(from_float<E4m3>(std::nextafter(half, 1e9f)).bits, code + 1);
  }
  for (const float large : {448.0f, 449.0f, 464.0f, 465.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(from_float<E4m3>(large).bits, 0x7e);
    EXPECT_EQ(from_float<E4m3>(-large).bits, 0xfe);
  }
}

TEST(KvFormat, ScaleOfARow) {
  EXPECT_EQ(scale_of_row(Code::int8, 254), 2.0f);
  EXPECT_EQ(scale_of_row(Code::e4m3, 896), 2.0f);
  EXPECT_EQ(scale_of_row(Code::int8, 0), 1e-6f);  // a row of zeros has a scale that divides
  EXPECT_EQ(scale_of_row(Code::int8, 1e-9f), 1e-6f);
}

TEST(KvFormat, Int8RoundsHalfAwayFromZero) {
  for (int i = -127; i <= 126; ++i) {
    const float half = static_cast<float>(i) + 0.5f;
    EXPECT_EQ(encode_int8(half, 1), half > 0 ? i + 1 : i) << half;
    EXPECT_EQ(encode_int8(std::nextafter(half, 0.0f), 1), half > 0 ? i : i + 1) << half;
  }
  EXPECT_EQ(encode_int8(std::nextafter(0.5f, 0.0f), 1), 0);  // adding a half would round this up
  EXPECT_EQ(encode_int8(1000, 1), 127);
  EXPECT_EQ(encode_int8(-1000, 1), -128);
}

TEST(KvFormat, WhatIsNotFiniteHasAWrittenMeaning) {
  float absmax = 0;
  for (const float x : {1.0f, NAN, -3.0f}) absmax = grow_absmax(absmax, x);
  EXPECT_EQ(absmax, 3.0f);
  EXPECT_EQ(grow_absmax(absmax, -INFINITY), std::numeric_limits<float>::max());
  const float inverse = 1 / scale_of_row(Code::int8, std::numeric_limits<float>::max());
  EXPECT_EQ(encode_int8(INFINITY, inverse), 127);
  EXPECT_EQ(encode_int8(-INFINITY, inverse), -128);
  EXPECT_EQ(encode_int8(5, inverse), 0);
  EXPECT_EQ(encode_int8(NAN, 1), 0);
  EXPECT_TRUE(std::isnan(to_float(encode_e4m3(NAN, 1))));
  EXPECT_EQ(to_float(encode_e4m3(INFINITY, 1)), 448.0f);
}

// Error of one element: half a step of the codes, which for a scale from the row's own absmax is
// absmax / 254 for int8, and a sixteenth of the element (or half the smallest step) for e4m3.
TEST(KvFormat, RestoredRowsAreWithinHalfAStep) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 2000; ++round) {
    float x[64], absmax = 0;
    const float size = std::exp(5 * normal(random));
    for (float& element : x) absmax = grow_absmax(absmax, element = size * normal(random));
    const float int8_scale = scale_of_row(Code::int8, absmax);
    const float e4m3_scale = scale_of_row(Code::e4m3, absmax);
    for (const float element : x) {
      const float by_int8 = static_cast<float>(encode_int8(element, 1 / int8_scale)) * int8_scale;
      ASSERT_LE(std::fabs(by_int8 - element), int8_scale * 0.5001f);
      const float by_e4m3 = to_float(encode_e4m3(element, 1 / e4m3_scale)) * e4m3_scale;
      ASSERT_LE(std::fabs(by_e4m3 - element),
                std::fmax(std::fabs(element) * 0.06251f, e4m3_scale * 0x1.001p-10f));
    }
  }
}

TEST(KvFormat, EveryFormatNamesItsPair) {
  EXPECT_EQ(kv_format_of(PAGODA_KV_SAME).key, (CacheFormat{}));
  EXPECT_EQ(kv_format_of(PAGODA_KV_INT8_CHANNEL_V).value,
            (CacheFormat{Code::int8, ScaleOf::channel}));
  EXPECT_EQ(kv_format_of(PAGODA_KV_INT8_KEYS).value, (CacheFormat{}));
  EXPECT_EQ(kv_format_of(PAGODA_KV_FP8_E4M3).key, (CacheFormat{Code::e4m3, ScaleOf::head}));
}

}  // namespace
}  // namespace pagoda

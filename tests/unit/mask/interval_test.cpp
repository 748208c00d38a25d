// The rules of interval.h one by one: whatever values lie within the bounds of the arguments, the
// result lies within the bounds of the answer. Bounds are drawn at all magnitudes, to the ends of
// 64 bits and to infinity.
#include "src/mask/interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "src/mask/semantics.h"

namespace pagoda::mask {
namespace {

constexpr int kRounds = 400'000;
using Random = std::mt19937_64;

int64_t any_integer(Random& random) {
  const auto value = static_cast<int64_t>(random());
  return random() % 8 == 0 ? (value < 0 ? INT64_MIN : INT64_MAX) - value % 3
                           : value >> (random() % 64);
}

float any_float(Random& random) {
  const float value = std::ldexp(static_cast<float>(static_cast<int32_t>(random())),
                                 static_cast<int>(random() % 240) - 120);
  return random() % 16 == 0 ? 0.0f : value;
}

// Both ends, or something between.
int64_t within(const IntForm& form, Random& random) {
  const uint64_t width = static_cast<uint64_t>(form.high) - static_cast<uint64_t>(form.low);
  const uint64_t offset = random() % 3 == 0     ? 0
                          : random() % 2 == 0   ? width
                          : width == UINT64_MAX ? random()
                                                : random() % (width + 1);
  return static_cast<int64_t>(static_cast<uint64_t>(form.low) + offset);
}

float within(const RealForm& form, Random& random) {
  const auto share = static_cast<float>(random() % 5) / 4;
  const float value = form.low * (1 - share) + form.high * share;
  return share == 0   ? form.low
         : share == 1 ? form.high
                      : std::fmin(std::fmax(value, form.low), form.high);
}

TEST(Interval, IntegerRulesBoundEveryValue) {
  constexpr Op kOps[] = {Op::add,    Op::subtract, Op::multiply, Op::floor_divide,
                         Op::modulo, Op::minimum,  Op::maximum};
  Random random(1);
  const Box box{};
  for (int round = 0; round < kRounds; ++round) {
    int64_t ends[4];
    for (int64_t& end : ends) end = any_integer(random);
    const IntForm a = between(std::min(ends[0], ends[1]), std::max(ends[0], ends[1]));
    const IntForm b = between(std::min(ends[2], ends[3]), std::max(ends[2], ends[3]));
    const Op op = kOps[random() % std::size(kOps)];
    const int64_t x = within(a, random), y = within(b, random);
    const IntForm answer = binary(op, a, b, box);
    const int64_t value = apply(op, Type::integer, {.i = x}, {.i = y}, {}).i;
    ASSERT_TRUE(value >= answer.low && value <= answer.high) << x << ", " << y << ": " << value;
    for (const Op sign : {Op::negate, Op::absolute}) {
      const IntForm one = unary(sign, a);
      const int64_t of_x = apply(sign, Type::integer, {.i = x}, {}, {}).i;
      ASSERT_TRUE(of_x >= one.low && of_x <= one.high) << x << ": " << of_x;
    }
    const RealForm as_real = to_real(a);
    ASSERT_TRUE(static_cast<float>(x) >= as_real.low && static_cast<float>(x) <= as_real.high);
    for (int test = static_cast<int>(Op::less); test <= static_cast<int>(Op::not_equal); ++test) {
      const Truth truth = compare(static_cast<Op>(test), a, b, box);
      const bool is = apply(static_cast<Op>(test), Type::integer, {.i = x}, {.i = y}, {}).i != 0;
      ASSERT_TRUE(truth == Truth::undecided || (truth == Truth::full) == is) << x << ", " << y;
    }
  }
}

bool bounds(const RealForm& form, float value) {
  return value != value ? form.may_be_nan : value >= form.low && value <= form.high;
}

TEST(Interval, RealRulesBoundEveryValue) {
  constexpr Op kOps[] = {Op::add, Op::subtract, Op::multiply, Op::divide, Op::minimum, Op::maximum};
  Random random(2);
  int64_t useful = 0;
  for (int round = 0; round < kRounds; ++round) {
    float ends[4];
    for (float& end : ends) end = any_float(random);
    const RealForm a{std::min(ends[0], ends[1]), std::max(ends[0], ends[1]), false};
    const RealForm b{std::min(ends[2], ends[3]), std::max(ends[2], ends[3]), false};
    const Op op = kOps[random() % std::size(kOps)];
    const float x = within(a, random), y = within(b, random);
    const RealForm answer = binary(op, a, b);
    useful += !answer.may_be_nan;
    ASSERT_TRUE(bounds(answer, apply(op, Type::real, {.f = x}, {.f = y}, {}).f))
        << static_cast<int>(op) << ": " << x << ", " << y;
    for (const Op one : {Op::negate, Op::absolute, Op::sqrt, Op::exp})
      ASSERT_TRUE(bounds(unary(one, a), apply(one, Type::real, {.f = x}, {}, {}).f)) << x;
    for (int test = static_cast<int>(Op::less); test <= static_cast<int>(Op::not_equal); ++test) {
      const Truth truth = compare(static_cast<Op>(test), a, b);
      const bool is = apply(static_cast<Op>(test), Type::real, {.f = x}, {.f = y}, {}).i != 0;
      ASSERT_TRUE(truth == Truth::undecided || (truth == Truth::full) == is) << x << ", " << y;
    }
  }
  EXPECT_GT(useful, kRounds / 2);
}

}  // namespace
}  // namespace pagoda::mask

// Products against sums in double, and the promise that a row's bits depend on nothing but itself.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "engine/math/matrix.h"

namespace pagoda::engine {
namespace {

std::vector<float> random_floats(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  std::vector<float> values(count);
  for (float& value : values) value = number(random);
  return values;
}

struct Case {
  int64_t num_outputs, num_inputs, num_rows;
  std::vector<float> weights, in, bias;

  Case(int64_t outputs, int64_t inputs, int64_t rows)
      : num_outputs(outputs),
        num_inputs(inputs),
        num_rows(rows),
        weights(random_floats(static_cast<size_t>(outputs * inputs), 1)),
        in(random_floats(static_cast<size_t>(rows * inputs), 2)),
        bias(random_floats(static_cast<size_t>(outputs), 3)) {}

  Matrix matrix(Products& products) const {
    return {products, num_outputs, num_inputs, [this](int64_t first, int64_t count, float* out) {
              std::copy_n(weights.data() + first * num_inputs, count * num_inputs, out);
            }};
  }

  std::vector<float> product(int num_threads, const ProductOptions& options = {}) const {
    Threads threads(num_threads);
    Products products(threads);
    std::vector<float> out(static_cast<size_t>(num_rows * num_outputs), 1.5f);
    matrix(products).multiply(in.data(), num_rows, out.data(), options);
    return out;
  }

  // The sum in double, and the sum of magnitudes, which rounding errors are a share of.
  std::pair<double, double> exact(int64_t row, int64_t column) const {
    double sum = 0, magnitude = 0;
    for (int64_t i = 0; i < num_inputs; i++) {
      const double term = double{in[static_cast<size_t>(row * num_inputs + i)]} *
                          weights[static_cast<size_t>(column * num_inputs + i)];
      sum += term;
      magnitude += std::abs(term);
    }
    return {sum, magnitude};
  }
};

void expect_close(const Case& c, const std::vector<float>& out, double offset, bool with_bias) {
  for (int64_t row = 0; row < c.num_rows; row++)
    for (int64_t column = 0; column < c.num_outputs; column++) {
      const auto [sum, magnitude] = c.exact(row, column);
      const double expected = offset + sum + (with_bias ? c.bias[static_cast<size_t>(column)] : 0);
      // n additions of rounded terms err by less than n * 2^-24 of their magnitudes.
      const double bound = static_cast<double>(c.num_inputs + 4) * 0x1p-24 * (magnitude + 4);
      EXPECT_NEAR(out[static_cast<size_t>(row * c.num_outputs + column)], expected, bound)
          << "row " << row << ", column " << column;
    }
}

TEST(Matrix, EqualsTheSumInDouble) {
  for (const auto& [outputs, inputs, rows] :
       {std::array<int64_t, 3>{64, 64, 1}, {65, 63, 3}, {7, 5, 2}, {200, 172, 70}, {640, 96, 9}}) {
    const Case c(outputs, inputs, rows);
    expect_close(c, c.product(1), 0, false);
  }
}

TEST(Matrix, AddsBiasAndAddsToWhatIsThere) {
  const Case c(130, 40, 67);
  expect_close(c, c.product(2, {.bias = c.bias.data()}), 0, true);
  expect_close(c, c.product(2, {.bias = c.bias.data(), .add_to_out = true}), 1.5, true);
}

TEST(Matrix, ARowHasTheSameBitsInAnyCompany) {
  for (const auto& [outputs, inputs] :
       {std::pair<int64_t, int64_t>{960, 576}, {576, 1536}, {44, 100}}) {
    const Case all(outputs, inputs, 131);
    Threads threads(1);
    Products products(threads);
    const Matrix matrix = all.matrix(products);
    std::vector<float> together(static_cast<size_t>(131 * outputs));
    matrix.multiply(all.in.data(), 131, together.data());
    for (int64_t count : {1, 2, 3, 4, 5, 7, 16, 63, 64, 65})
      for (int64_t first = 0; first + count <= 131; first += 33) {
        std::vector<float> some(static_cast<size_t>(count * outputs));
        matrix.multiply(all.in.data() + first * inputs, count, some.data());
        EXPECT_EQ(std::memcmp(some.data(), together.data() + first * outputs,
                              some.size() * sizeof(float)),
                  0)
            << outputs << " x " << inputs << ": rows " << first << " .. " << first + count - 1;
      }
  }
}

TEST(Matrix, ThreadsDoNotChangeBits) {
  for (int64_t rows : {1, 5, 200}) {
    const Case c(400, 96, rows);
    const std::vector<float> expected = c.product(1);
    for (int num_threads : {2, 3, 7}) EXPECT_EQ(c.product(num_threads), expected) << num_threads;
  }
}

TEST(Matrix, NoRowsIsNoWork) {
  const Case c(64, 64, 0);
  EXPECT_TRUE(c.product(2).empty());
}

TEST(Threads, EveryItemRunsOnce) {
  Threads threads(4);
  for (int round = 0; round < 200; round++) {
    std::vector<std::atomic<int>> counts(static_cast<size_t>(round));
    threads.for_each(round, [&](int64_t item, int thread) {
      ASSERT_LT(thread, threads.size());
      counts[static_cast<size_t>(item)]++;
    });
    for (const auto& count : counts) EXPECT_EQ(count, 1);
  }
}

TEST(Threads, TheFirstFailureReachesTheCallerAndTheThreadsLiveOn) {
  Threads threads(3);
  const auto fail_at = [](int64_t item, int) {
    if (item == 7) throw std::runtime_error("seven");
  };
  EXPECT_THROW(threads.for_each(100, fail_at), std::runtime_error);
  std::atomic<int> sum{0};
  threads.for_each(10, [&](int64_t item, int) { sum += static_cast<int>(item); });
  EXPECT_EQ(sum, 45);
}

}  // namespace
}  // namespace pagoda::engine

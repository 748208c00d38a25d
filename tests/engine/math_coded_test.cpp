// Products of weights in codes: what a panel holds is what the file says, every instruction set
// gives the same bits, and those are the product of rounded activations up to the rounding of its
// sums.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "engine/formats/quants.h"
#include "engine/math/convert.h"
#include "engine/math/matrix.h"

namespace pagoda::engine {
namespace {

constexpr TensorType kTypes[] = {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                 TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ4_K,
                                 TensorType::kQ5_K, TensorType::kQ6_K};
constexpr const char* kIsas[] = {"scalar", "avx2", "avx512", "amx", "neon"};

// Random bytes, with the binary16 scales of each group made small numbers.
struct StoredMatrix {
  TensorType type;
  int64_t num_rows, row_size;
  std::vector<std::byte> bytes;

  StoredMatrix(TensorType of, int64_t rows, int64_t size, uint32_t seed)
      : type(of), num_rows(rows), row_size(size) {
    const TypeTraits& t = traits(type);
    const int64_t groups = num_rows * row_size / t.group_size;
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> scale(-0.02f, 0.02f);
    bytes.resize(static_cast<size_t>(groups * t.group_bytes));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    const bool is_q6 = type == TensorType::kQ6_K;
    const bool has_minimum = type == TensorType::kQ4_1 || type == TensorType::kQ5_1 ||
                             type == TensorType::kQ4_K || type == TensorType::kQ5_K;
    for (int64_t g = 0; g < groups; g++)
      for (int i = 0; i < (has_minimum ? 2 : 1); i++) {
        const uint16_t half = float_to_half(scale(random));
        std::memcpy(bytes.data() + g * t.group_bytes + (is_q6 ? 208 : 2 * i), &half, 2);
      }
  }

  TensorView view() const {
    return {.name = "weights", .type = type, .shape = {num_rows, row_size}, .bytes = bytes};
  }
  StoredPart whole() const {
    return {.view = view(),
            .first_row = 0,
            .num_rows = num_rows,
            .first_column = 0,
            .num_columns = row_size};
  }
  std::vector<float> expanded() const {
    std::vector<float> out(static_cast<size_t>(num_rows * row_size));
    dequantize(type, bytes, out);
    return out;
  }
};

std::vector<float> random_rows(int64_t num_rows, int64_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  std::vector<float> rows(static_cast<size_t>(num_rows * size));
  for (float& value : rows) value = number(random);
  return rows;
}

bool has_isa(const char* isa) {
  try {
    choose_kernels(isa);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

struct Bench {
  Threads threads;
  Products products;
  explicit Bench(const char* isa, int num_threads = 1)
      : threads(num_threads), products(threads, {.isa = isa, .expand = false}) {}
};

std::vector<float> product(Products& products, const std::vector<StoredPart>& parts,
                           const std::vector<float>& in, int64_t num_rows,
                           const ProductOptions& options = {}) {
  const Matrix matrix(products, parts);
  EXPECT_TRUE(matrix.is_coded());
  std::vector<float> out(static_cast<size_t>(num_rows * matrix.num_outputs()), 1.5f);
  matrix.multiply(in.data(), num_rows, out.data(), options);
  return out;
}

// What the activations are after rounding to codes, restated: a group's largest magnitude becomes
// 127.
std::vector<double> rounded_activations(const std::vector<float>& in) {
  std::vector<double> out(in.size());
  for (size_t begin = 0; begin < in.size(); begin += 32) {
    float largest = 0;
    for (size_t i = begin; i < begin + 32; i++) largest = std::max(largest, std::abs(in[i]));
    const float scale = largest / 127, inverse = 127 / largest;
    for (size_t i = begin; i < begin + 32; i++)
      out[i] = double{scale} * std::nearbyint(in[i] * inverse);
  }
  return out;
}

// Bounds the parts of the weights of a group, scale * code and minimum, which are rounded apart:
// the codes of 32 random weights lie nearly as far apart as codes can.
double part_bound(const float* group) {
  const auto [least, most] = std::minmax_element(group, group + 32);
  return 2 * (std::abs(double{*least}) + std::abs(double{*most})) + 2 * (double{*most} - *least);
}

void expect_product(const StoredMatrix& stored, const std::vector<float>& in, int64_t num_rows,
                    const std::vector<float>& out) {
  const std::vector<float> weights = stored.expanded();
  const std::vector<double> rounded = rounded_activations(in);
  const int64_t size = stored.row_size;
  for (int64_t row = 0; row < num_rows; row++)
    for (int64_t column = 0; column < stored.num_rows; column++) {
      double sum = 0, magnitude = 0;
      for (int64_t i = 0; i < size; i++) {
        const double a = rounded[static_cast<size_t>(row * size + i)];
        sum += a * weights[static_cast<size_t>(column * size + i)];
        magnitude += std::abs(a) * part_bound(weights.data() + column * size + i / 32 * 32);
      }
      // Four roundings for each group of 32, each below 2^-24 of what has been added.
      const double bound = static_cast<double>(size / 8 + 4) * 0x1p-24 * magnitude;
      ASSERT_NEAR(out[static_cast<size_t>(row * stored.num_rows + column)], sum, bound)
          << traits(stored.type).name << ", row " << row << ", column " << column;
    }
}

TEST(CodedProduct, IsTheProductOfRoundedActivations) {
  Bench scalar("scalar");
  uint32_t seed = 1;
  for (TensorType type : kTypes)
    for (const auto& [outputs, inputs, rows] :
         {std::array<int64_t, 3>{16, 256, 1}, {37, 512, 3}, {7, 768, 17}}) {
      const StoredMatrix stored(type, outputs, inputs, seed++);
      const std::vector<float> in = random_rows(rows, inputs, seed++);
      expect_product(stored, in, rows, product(scalar.products, {stored.whole()}, in, rows));
    }
}

TEST(CodedProduct, EveryInstructionSetGivesTheSameBits) {
  std::mt19937 random(7);
  Bench scalar("scalar");
  for (const char* isa : kIsas) {
    if (!has_isa(isa)) continue;
    Bench setup(isa, 2);
    for (int round = 0; round < 48; round++) {
      const TensorType type = kTypes[round % std::size(kTypes)];
      const int64_t inputs = traits(type).group_size * static_cast<int64_t>(1 + random() % 3);
      const auto outputs = static_cast<int64_t>(1 + random() % 70);
      const auto rows = static_cast<int64_t>(1 + random() % 40);
      const StoredMatrix stored(type, outputs, inputs, random());
      const std::vector<float> in = random_rows(rows, inputs, random());
      const std::vector<float> bias = random_rows(1, outputs, random());
      const ProductOptions options = {.bias = round % 3 == 0 ? bias.data() : nullptr,
                                      .add_to_out = round % 2 == 0};
      ASSERT_EQ(product(setup.products, {stored.whole()}, in, rows, options),
                product(scalar.products, {stored.whole()}, in, rows, options))
          << isa << ", " << traits(type).name << " of " << outputs << " x " << inputs << ", "
          << rows << " rows";
    }
  }
}

TEST(CodedProduct, ARowHasTheSameBitsInAnyCompanyAndWithAnyThreads) {
  const StoredMatrix stored(TensorType::kQ4_1, 200, 576, 3);
  const std::vector<float> in = random_rows(530, 576, 4);
  Bench one("");
  const std::vector<float> together = product(one.products, {stored.whole()}, in, 530);
  for (int num_threads : {1, 2, 3, 7}) {
    Bench setup("", num_threads);
    for (int64_t count : {1, 2, 3, 4, 5, 7, 15, 16, 17, 33, 513})
      for (int64_t first = 0; first + count <= 530; first += 129) {
        const std::vector<float> some(in.begin() + first * 576, in.begin() + (first + count) * 576);
        const std::vector<float> out = product(setup.products, {stored.whole()}, some, count);
        ASSERT_EQ(std::memcmp(out.data(), together.data() + first * 200, out.size() * 4), 0)
            << num_threads << " threads, rows " << first << " to " << first + count;
      }
  }
}

TEST(CodedProduct, PartsOfSeveralMatricesStandOneAboveTheOther) {
  Bench setup("");
  const StoredMatrix first(TensorType::kQ4_K, 40, 512, 5), second(TensorType::kQ6_K, 21, 512, 6);
  const std::vector<float> in = random_rows(19, 256, 7);
  const auto half_of = [](const StoredMatrix& stored, int64_t row, int64_t rows) {
    return StoredPart{.view = stored.view(),
                      .first_row = row,
                      .num_rows = rows,
                      .first_column = 256,
                      .num_columns = 256};
  };
  const std::vector<float> both =
      product(setup.products, {half_of(first, 3, 30), half_of(second, 1, 20)}, in, 19);
  const std::vector<float> one = product(setup.products, {half_of(first, 3, 30)}, in, 19);
  const std::vector<float> other = product(setup.products, {half_of(second, 1, 20)}, in, 19);
  for (int64_t row = 0; row < 19; row++) {
    EXPECT_TRUE(
        std::equal(one.begin() + row * 30, one.begin() + row * 30 + 30, both.begin() + row * 50));
    EXPECT_TRUE(std::equal(other.begin() + row * 20, other.begin() + row * 20 + 20,
                           both.begin() + row * 50 + 30));
  }
}

TEST(CodedProduct, OtherTypesAndCutsThroughGroupsAreExpanded) {
  Bench setup("");
  const StoredMatrix coded(TensorType::kQ4_K, 16, 512, 8), floats(TensorType::kF32, 16, 512, 9);
  StoredPart cut = coded.whole();
  cut.num_columns = 128;
  EXPECT_FALSE(Matrix(setup.products, std::vector{cut}).is_coded());
  EXPECT_FALSE(Matrix(setup.products, std::vector{coded.whole(), floats.whole()}).is_coded());
  Products expanding(setup.threads, {.isa = "", .expand = true});
  EXPECT_FALSE(Matrix(expanding, std::vector{coded.whole()}).is_coded());
}

// A damaged weight must not become a harmless number on the way.
TEST(CodedProduct, NoNumberStaysNoNumber) {
  for (const char* isa : kIsas) {
    if (!has_isa(isa)) continue;
    Bench setup(isa);
    const StoredMatrix stored(TensorType::kQ8_0, 16, 64, 10);
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      std::vector<float> in = random_rows(6, 64, 11);
      in[3 * 64 + 40] = bad;
      const std::vector<float> out = product(setup.products, {stored.whole()}, in, 6);
      for (int64_t i = 0; i < 6 * 16; i++)
        EXPECT_EQ(std::isfinite(out[static_cast<size_t>(i)]), i / 16 != 3) << isa << " " << i;
    }
  }
}

TEST(CodedProduct, ZerosAndTinyNumbersAreZero) {
  Bench setup("");
  const StoredMatrix stored(TensorType::kQ4_0, 16, 64, 12);
  std::vector<float> in(64, 0.0f);
  in[40] = 1e-36f;
  for (float value : product(setup.products, {stored.whole()}, in, 1)) EXPECT_EQ(value, 0.0f);
}

TEST(MathKernels, SmallOperationsHaveTheSameBitsOnEveryInstructionSet) {
  const MathKernels& plain = *choose_kernels("scalar").kernels;
  const std::vector<float> a = random_rows(1, 1000, 1), b = random_rows(1, 1000, 2);
  for (const char* isa : kIsas) {
    if (!has_isa(isa)) continue;
    const MathKernels& kernels = *choose_kernels(isa).kernels;
    for (int64_t size : {1, 7, 16, 33, 576, 1000}) {
      std::vector<float> expected(a), out(a);
      plain.rms_norm(a.data(), b.data(), 1e-5f, size, expected.data());
      kernels.rms_norm(a.data(), b.data(), 1e-5f, size, out.data());
      EXPECT_EQ(out, expected) << isa << ", " << size;
      plain.silu_times(a.data(), b.data(), size, expected.data());
      kernels.silu_times(a.data(), b.data(), size, out.data());
      EXPECT_EQ(out, expected) << isa << ", " << size;
      std::vector<uint16_t> expected_short(a.size()), shorts(a.size());
      plain.to_bfloats(a.data(), size, expected_short.data());
      kernels.to_bfloats(a.data(), size, shorts.data());
      EXPECT_EQ(shorts, expected_short) << isa << ", " << size;
      kernels.from_bfloats(shorts.data(), size, out.data());
      for (int64_t i = 0; i < size; i++)
        EXPECT_EQ(out[static_cast<size_t>(i)],
                  bfloat_to_float(float_to_bfloat(a[static_cast<size_t>(i)])));
      plain.to_halves(a.data(), size, expected_short.data());
      kernels.to_halves(a.data(), size, shorts.data());
      EXPECT_EQ(shorts, expected_short) << isa << ", " << size;
      kernels.from_halves(shorts.data(), size, out.data());
      for (int64_t i = 0; i < size; i++)
        EXPECT_EQ(out[static_cast<size_t>(i)],
                  half_to_float(float_to_half(a[static_cast<size_t>(i)])));
      for (bool interleaved : {false, true}) {
        expected = out = a;
        const int64_t pairs = size / 4;
        plain.rotate(expected.data(), 2, 2 * pairs, b.data(), b.data() + 500, pairs, interleaved);
        kernels.rotate(out.data(), 2, 2 * pairs, b.data(), b.data() + 500, pairs, interleaved);
        EXPECT_EQ(out, expected) << isa << ", " << size;
      }
    }
  }
}

TEST(MathKernels, AnUnknownInstructionSetIsRefused) {
  EXPECT_THROW(choose_kernels("sse9"), Error);
}

}  // namespace
}  // namespace pagoda::engine

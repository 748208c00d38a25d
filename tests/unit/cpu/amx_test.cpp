// The arithmetic of the tile products, on which the bits of attention with AMX rely: a product is
// what its description says, and can be taken apart into halves.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/dtype.h"
#include "cpu/features.h"
#include "cpu/kernels.h"

namespace pagoda::cpu {
namespace {

#ifdef PAGODA_CPU_X86
constexpr int kRows = 16, kPairs = 16;

struct Tiles {
  alignas(64) uint16_t a[kRows * 2 * kPairs];  // [row, k, 2]
  alignas(64) uint16_t b[kPairs * 2 * kRows];  // [k, column, 2]
  alignas(64) float c[kRows * kRows];          // [row, column]
};

// Numbers of very different size, so that every order of addition rounds differently.
float wild_number(std::mt19937& random) {
  std::normal_distribution<float> normal;
  return normal(random) * std::exp(3 * normal(random));
}

struct OfBf16 {
  static bool is_here() { return detect_features().amx; }
  static void multiply(Tiles& t) { amx::multiply_tiles(t.a, t.b, t.c); }
  static float widen(uint16_t x) { return to_float(Bfloat16{x}); }
  static uint16_t random(std::mt19937& random) {
    return static_cast<uint16_t>(bits_of_float(wild_number(random)) >> 16);
  }
};

// Every finite number of f16 is as likely as another: one in 31 is subnormal.
struct OfF16 {
  static bool is_here() { return detect_features().amx_fp16; }
  static void multiply(Tiles& t) { amx_fp16::multiply_tiles(t.a, t.b, t.c); }
  static float widen(uint16_t x) { return to_float(Half{x}); }
  static uint16_t random(std::mt19937& random) {
    const auto bits = static_cast<uint16_t>(random());
    return (bits & 0x7c00) == 0x7c00 ? static_cast<uint16_t>(bits & 0x83ff) : bits;
  }
};

template <class Element>
Tiles random_tiles(uint32_t seed) {
  std::mt19937 random(seed);
  Tiles tiles;
  for (uint16_t& x : tiles.a) x = Element::random(random);
  for (uint16_t& x : tiles.b) x = Element::random(random);
  for (float& x : tiles.c) x = 10 * wild_number(random);
  return tiles;
}

template <class Element>
class AmxProduct : public testing::Test {
 protected:
  void SetUp() override {
    if (!Element::is_here()) GTEST_SKIP() << "this machine has no such AMX, or refuses it";
  }
};
using Elements = testing::Types<OfBf16, OfF16>;
TYPED_TEST_SUITE(AmxProduct, Elements);

TYPED_TEST(AmxProduct, IsTwoChainsAndTheirSum) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const Tiles tiles = random_tiles<TypeParam>(seed);
    Tiles result = tiles;
    TypeParam::multiply(result);
    for (int m = 0; m < kRows; ++m)
      for (int n = 0; n < kRows; ++n) {
        float even = 0, odd = 0;
        for (int k = 0; k < kPairs; ++k) {
          const uint16_t* a = tiles.a + (m * kPairs + k) * 2;
          const uint16_t* b = tiles.b + (k * kRows + n) * 2;
          even = std::fmaf(TypeParam::widen(a[0]), TypeParam::widen(b[0]), even);
          odd = std::fmaf(TypeParam::widen(a[1]), TypeParam::widen(b[1]), odd);
        }
        const float sum = even + odd;
        const float want = tiles.c[m * kRows + n] + sum;
        ASSERT_EQ(bits_of_float(result.c[m * kRows + n]), bits_of_float(want))
            << seed << " " << m << " " << n;
      }
  }
}

// What lets values be used as they lie: the even chain alone, then the odd one, from zero, and the
// sum added afterwards, is the product at once.
TYPED_TEST(AmxProduct, FallsApartIntoItsChains) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const Tiles tiles = random_tiles<TypeParam>(seed);
    Tiles whole = tiles, even = tiles, odd = tiles;
    TypeParam::multiply(whole);
    for (int i = 0; i < kRows * kPairs; ++i) even.a[2 * i + 1] = odd.a[2 * i] = 0;
    std::memset(even.c, 0, sizeof even.c);
    TypeParam::multiply(even);
    std::memcpy(odd.c, even.c, sizeof odd.c);
    TypeParam::multiply(odd);
    for (int i = 0; i < kRows * kRows; ++i) {
      const float want = tiles.c[i] + odd.c[i];
      ASSERT_EQ(bits_of_float(whole.c[i]), bits_of_float(want)) << seed << " " << i;
    }
  }
}

// Weights and codes of f16 rely on it: bf16's subnormals are 0 to its products, these are numbers.
TEST(AmxProductOfF16, TakesSubnormals) {
  if (!OfF16::is_here()) GTEST_SKIP() << "this machine has no AMX for f16, or refuses it";
  Tiles tiles{};
  tiles.a[0] = 1;       // 2^-24
  tiles.b[0] = 0x3c00;  // 1
  tiles.b[2] = 0x0001;  // 2^-24, in the next column
  OfF16::multiply(tiles);
  EXPECT_EQ(tiles.c[0], 0x1p-24f);
  EXPECT_EQ(tiles.c[1], 0x1p-48f);
}
#endif

}  // namespace
}  // namespace pagoda::cpu

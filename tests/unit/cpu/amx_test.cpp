// The arithmetic of the tile products, on which the bits of attention with AMX rely: a product is
// what its description says, and can be taken apart into halves.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

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

float widen(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float f = 0;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

uint16_t top_half(float f) {
  uint32_t bits = 0;
  std::memcpy(&bits, &f, sizeof f);
  return static_cast<uint16_t>(bits >> 16);
}

uint32_t bits_of(float f) {
  uint32_t bits = 0;
  std::memcpy(&bits, &f, sizeof f);
  return bits;
}

// Numbers of very different size, so that every order of addition rounds differently.
Tiles random_tiles(uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto number = [&] { return normal(random) * std::exp(3 * normal(random)); };
  Tiles tiles;
  for (uint16_t& x : tiles.a) x = top_half(number());
  for (uint16_t& x : tiles.b) x = top_half(number());
  for (float& x : tiles.c) x = 10 * number();
  return tiles;
}

class AmxProduct : public testing::Test {
 protected:
  void SetUp() override {
    if (!detect_features().amx) GTEST_SKIP() << "this machine has no AMX, or refuses it";
  }
};

TEST_F(AmxProduct, IsTwoChainsAndTheirSum) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const Tiles tiles = random_tiles(seed);
    Tiles result = tiles;
    amx::multiply_tiles(result.a, result.b, result.c);
    for (int m = 0; m < kRows; ++m)
      for (int n = 0; n < kRows; ++n) {
        float even = 0, odd = 0;
        for (int k = 0; k < kPairs; ++k) {
          const uint16_t* a = tiles.a + (m * kPairs + k) * 2;
          const uint16_t* b = tiles.b + (k * kRows + n) * 2;
          even = std::fmaf(widen(a[0]), widen(b[0]), even);
          odd = std::fmaf(widen(a[1]), widen(b[1]), odd);
        }
        const float sum = even + odd;
        const float want = tiles.c[m * kRows + n] + sum;
        ASSERT_EQ(bits_of(result.c[m * kRows + n]), bits_of(want)) << seed << " " << m << " " << n;
      }
  }
}

// What lets values be used as they lie: the even chain alone, then the odd one, from zero, and the
// sum added afterwards, is the product at once.
TEST_F(AmxProduct, FallsApartIntoItsChains) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const Tiles tiles = random_tiles(seed);
    Tiles whole = tiles, even = tiles, odd = tiles;
    amx::multiply_tiles(whole.a, whole.b, whole.c);
    for (int i = 0; i < kRows * kPairs; ++i) even.a[2 * i + 1] = odd.a[2 * i] = 0;
    std::memset(even.c, 0, sizeof even.c);
    amx::multiply_tiles(even.a, even.b, even.c);
    amx::multiply_tiles(odd.a, odd.b, even.c);
    for (int i = 0; i < kRows * kRows; ++i) {
      const float want = tiles.c[i] + even.c[i];
      ASSERT_EQ(bits_of(whole.c[i]), bits_of(want)) << seed << " " << i;
    }
  }
}
#endif

}  // namespace
}  // namespace pagoda::cpu

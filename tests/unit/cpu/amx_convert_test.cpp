// Codes of one byte to the elements of tiles: every code, at every place of rows of every length.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/e4m3.h"
#include "cpu/element.h"
#include "cpu/features.h"
#include "cpu/kernels.h"

namespace pagoda::cpu {
namespace {

#ifdef PAGODA_CPU_X86
struct OfBf16 {
  static bool is_here() { return detect_features().amx; }
  static void convert(Element element, const uint8_t* codes, size_t dim, uint16_t* to) {
    amx::convert_codes(element, codes, static_cast<int32_t>(dim), to);
  }
  static float widen(uint16_t x) { return to_float(Bfloat16{x}); }
};

struct OfF16 {
  static bool is_here() { return detect_features().amx_fp16; }
  static void convert(Element element, const uint8_t* codes, size_t dim, uint16_t* to) {
    amx_fp16::convert_codes(element, codes, static_cast<int32_t>(dim), to);
  }
  static float widen(uint16_t x) { return to_float(Half{x}); }
};

template <class Tiles>
class AmxConvert : public testing::Test {
 protected:
  void SetUp() override {
    if (!Tiles::is_here()) GTEST_SKIP() << "this machine has no such AMX, or refuses it";
  }
};
using TileElements = testing::Types<OfBf16, OfF16>;
TYPED_TEST_SUITE(AmxConvert, TileElements);

// As the kernels read it: e4m3 in units of 256.
float number_of(Element element, uint8_t code) {
  if (element == Element::int8) return static_cast<int8_t>(code);
  return to_float(E4m3{code}) / unit_of(PAGODA_FP8_E4M3);
}

template <class Tiles>
void expect_converted(Element element, const std::vector<uint8_t>& codes) {
  const size_t dim = codes.size(), padded = (dim + 63) / 64 * 64;
  alignas(64) uint16_t halves[kMaxHeadDim];
  std::memset(halves, 0xee, sizeof halves);
  Tiles::convert(element, codes.data(), dim, halves);
  for (size_t d = 0; d < padded; ++d) {
    const float want = d < dim ? number_of(element, codes[d]) : 0.0f;
    const float have = Tiles::widen(halves[d]);
    if (std::isnan(want))
      ASSERT_TRUE(std::isnan(have)) << "code " << int{codes[d]} << " at " << d << " of " << dim;
    else
      ASSERT_EQ(bits_of_float(have), bits_of_float(want))
          << "code " << (d < dim ? int{codes[d]} : -1) << " at " << d << " of " << dim;
  }
  if (padded < kMaxHeadDim) {
    ASSERT_EQ(halves[padded], 0xeeee) << dim;
  }
}

// Among ordinary codes, which have a way of their own, and among all others.
TYPED_TEST(AmxConvert, EveryCodeIsItsNumber) {
  for (Element element : {Element::int8, Element::e4m3})
    for (size_t dim : {8, 40, 64, 80, 128, 200, 512})
      for (unsigned code = 0; code < 256; ++code)
        for (uint8_t others : {uint8_t{0x35}, uint8_t{0}, uint8_t{0x7f}}) {
          std::vector<uint8_t> codes(dim, others);
          codes[(code * 37) % dim] = static_cast<uint8_t>(code);
          codes[dim - 1] = static_cast<uint8_t>(code + 1);
          expect_converted<TypeParam>(element, codes);
          if (this->HasFatalFailure()) return;
        }
}
#endif

}  // namespace
}  // namespace pagoda::cpu

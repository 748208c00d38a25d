// Codes of one byte to bf16 for tiles: every code, at every place of rows of every length.
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
class AmxConvert : public testing::Test {
 protected:
  void SetUp() override {
    if (!detect_features().amx) GTEST_SKIP() << "this machine has no AMX, or refuses it";
  }
};

// As the kernels read it: e4m3 in units of 256.
float number_of(Element element, uint8_t code) {
  if (element == Element::int8) return static_cast<int8_t>(code);
  return to_float(E4m3{code}) / unit_of(PAGODA_FP8_E4M3);
}

void expect_converted(Element element, const std::vector<uint8_t>& codes) {
  const size_t dim = codes.size(), padded = (dim + 63) / 64 * 64;
  alignas(64) uint16_t bf16[kMaxHeadDim];
  std::memset(bf16, 0xee, sizeof bf16);
  amx::convert_codes(element, codes.data(), static_cast<int32_t>(dim), bf16);
  for (size_t d = 0; d < padded; ++d) {
    const float want = d < dim ? number_of(element, codes[d]) : 0.0f;
    const float have = to_float(Bfloat16{bf16[d]});
    if (std::isnan(want))
      ASSERT_TRUE(std::isnan(have)) << "code " << int{codes[d]} << " at " << d << " of " << dim;
    else
      ASSERT_EQ(bits_of_float(have), bits_of_float(want))
          << "code " << (d < dim ? int{codes[d]} : -1) << " at " << d << " of " << dim;
  }
  if (padded < kMaxHeadDim) {
    ASSERT_EQ(bf16[padded], 0xeeee) << dim;
  }
}

// Among ordinary codes, which have a way of their own, and among all others.
TEST_F(AmxConvert, EveryCodeIsItsNumber) {
  for (Element element : {Element::int8, Element::e4m3})
    for (size_t dim : {8, 40, 64, 80, 128, 200, 512})
      for (unsigned code = 0; code < 256; ++code)
        for (uint8_t others : {uint8_t{0x35}, uint8_t{0}, uint8_t{0x7f}}) {
          std::vector<uint8_t> codes(dim, others);
          codes[(code * 37) % dim] = static_cast<uint8_t>(code);
          codes[dim - 1] = static_cast<uint8_t>(code + 1);
          expect_converted(element, codes);
          if (HasFatalFailure()) return;
        }
}
#endif

}  // namespace
}  // namespace pagoda::cpu

// Dequantisation, three ways: every half and every bfloat against formulas, every code at every
// position of every type against an encoder, and random groups against the gguf package for Python
// (golden/make_quants_golden.py).
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/formats/quants.h"
#include "tests/engine/test_data.h"

namespace pagoda::engine {
namespace {

using Group = std::vector<uint8_t>;

uint32_t bits_of(float value) {
  return std::bit_cast<uint32_t>(value);
}

// IEEE 754, section 3.4, with exact powers of two.
double half_by_formula(uint16_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(Quants, EveryHalf) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = half_to_float(static_cast<uint16_t>(bits));
    const double expected = half_by_formula(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_EQ(bits_of(value) & 0x3ff, 0u);  // the payload's ten bits are moved up
      ASSERT_EQ(bits_of(value) >> 13 & 0x3ff, bits & 0x3ff);
    } else {
      ASSERT_EQ(bits_of(value), bits_of(static_cast<float>(expected))) << bits;
    }
  }
}

TEST(Quants, EveryBfloat) {
  for (uint32_t bits = 0; bits < 65536; ++bits)
    ASSERT_EQ(bits_of(bfloat_to_float(static_cast<uint16_t>(bits))), bits << 16);
}

std::vector<float> restore(TensorType type, const Group& group) {
  std::vector<float> out(static_cast<size_t>(traits(type).group_size));
  dequantize(type, std::as_bytes(std::span(group)), out);
  return out;
}

Group empty_group(TensorType type) {
  return Group(static_cast<size_t>(traits(type).group_bytes));
}

void put_half(Group& group, size_t at, uint16_t bits) {
  std::memcpy(&group[at], &bits, 2);
}

constexpr uint16_t kHalfTwo = 0x4000, kHalfMinusThree = 0xC200;

// Puts `code` of `num_bits` bits, the lowest first, at single bit positions of the group.
using BitPosition = size_t (*)(int element, int bit);

void put_code(Group& group, BitPosition position, int element, int code, int num_bits) {
  for (int bit = 0; bit < num_bits; ++bit) {
    const size_t at = position(element, bit);
    if ((code >> bit & 1) != 0) group[at / 8] |= static_cast<uint8_t>(1 << at % 8);
  }
}

// Every code at every position: that element alone has it, all others have code 0.
// `value` gives what a code of an element means.
template <class Value>
void check_codes(TensorType type, const Group& scales, BitPosition position, int num_bits,
                 Value value) {
  const int count = static_cast<int>(traits(type).group_size);
  for (int element = 0; element < count; ++element) {
    for (int code = 0; code < 1 << num_bits; ++code) {
      Group group = scales;
      put_code(group, position, element, code, num_bits);
      const std::vector<float> out = restore(type, group);
      for (int other = 0; other < count; ++other)
        ASSERT_EQ(out[static_cast<size_t>(other)], value(other, other == element ? code : 0))
            << traits(type).name << " element " << element << " code " << code << " at " << other;
    }
  }
}

// The nibble of element i of a group of 32 whose nibbles begin at byte `start`.
template <int start>
size_t nibble_position(int element, int bit) {
  return static_cast<size_t>((start + element % 16) * 8 + element / 16 * 4 + bit);
}

// The same with a fifth bit in a 32-bit word at byte `word`.
template <int word, int start>
size_t five_bit_position(int element, int bit) {
  return bit < 4 ? nibble_position<start>(element, bit) : static_cast<size_t>(word * 8 + element);
}

TEST(Quants, EveryCodeOfQ8_0) {
  Group scales = empty_group(TensorType::kQ8_0);
  put_half(scales, 0, kHalfTwo);
  check_codes(
      TensorType::kQ8_0, scales,
      [](int element, int bit) { return static_cast<size_t>((2 + element) * 8 + bit); }, 8,
      [](int, int code) { return 2.0f * static_cast<float>(code < 128 ? code : code - 256); });
}

TEST(Quants, EveryCodeOfQ4_0) {
  Group scales = empty_group(TensorType::kQ4_0);
  put_half(scales, 0, kHalfTwo);
  check_codes(TensorType::kQ4_0, scales, nibble_position<2>, 4,
              [](int, int code) { return 2.0f * static_cast<float>(code - 8); });
}

TEST(Quants, EveryCodeOfQ4_1) {
  Group scales = empty_group(TensorType::kQ4_1);
  put_half(scales, 0, kHalfTwo);
  put_half(scales, 2, kHalfMinusThree);
  check_codes(TensorType::kQ4_1, scales, nibble_position<4>, 4,
              [](int, int code) { return 2.0f * static_cast<float>(code) - 3.0f; });
}

TEST(Quants, EveryCodeOfQ5_0) {
  Group scales = empty_group(TensorType::kQ5_0);
  put_half(scales, 0, kHalfTwo);
  check_codes(TensorType::kQ5_0, scales, five_bit_position<2, 6>, 5,
              [](int, int code) { return 2.0f * static_cast<float>(code - 16); });
}

TEST(Quants, EveryCodeOfQ5_1) {
  Group scales = empty_group(TensorType::kQ5_1);
  put_half(scales, 0, kHalfTwo);
  put_half(scales, 2, kHalfMinusThree);
  check_codes(TensorType::kQ5_1, scales, five_bit_position<4, 8>, 5,
              [](int, int code) { return 2.0f * static_cast<float>(code) - 3.0f; });
}

// Bit positions of the 6-bit scale (is_min 0) or minimum (is_min 1) of sub-group j in Q4_K's 12
// bytes at byte 4: four of them whole, the rest split in four low and two high bits.
size_t q4_k_scale_position(int j, int is_min, int bit) {
  const int byte = j < 4 ? j + 4 * is_min : bit < 4 ? j + 4 : j - 4 + 4 * is_min;
  const int shift = j < 4 ? bit : bit < 4 ? 4 * is_min + bit : 2 + bit;
  return static_cast<size_t>((4 + byte) * 8 + shift);
}

TEST(Quants, EveryScaleAndMinimumOfQ4_K) {
  for (int j = 0; j < 8; ++j) {
    for (int code = 0; code < 64; ++code) {
      Group group = empty_group(TensorType::kQ4_K);
      put_half(group, 0, kHalfTwo);
      put_half(group, 2, kHalfMinusThree);
      std::fill(group.begin() + 16, group.end(), 0x55);  // every code is 5
      for (int bit = 0; bit < 6; ++bit) {
        const size_t scale = q4_k_scale_position(j, 0, bit);
        const size_t minimum = q4_k_scale_position(j, 1, bit);
        if ((code >> bit & 1) != 0) group[scale / 8] |= static_cast<uint8_t>(1 << scale % 8);
        if ((code >> bit & 1) == 0) group[minimum / 8] |= static_cast<uint8_t>(1 << minimum % 8);
      }
      const float expected =
          2.0f * static_cast<float>(code) * 5.0f + 3.0f * static_cast<float>(63 - code);
      const std::vector<float> out = restore(TensorType::kQ4_K, group);
      for (int i = 0; i < 256; ++i)
        ASSERT_EQ(out[static_cast<size_t>(i)], i / 32 == j ? expected : 0.0f) << j << " " << code;
    }
  }
}

// A group whose sub-group j has scale 1 + j and minimum 0.
Group ascending_scales(TensorType type) {
  Group scales = empty_group(type);
  put_half(scales, 0, kHalfTwo);
  for (int j = 0; j < 8; ++j) {
    for (int bit = 0; bit < 6; ++bit) {
      const size_t at = q4_k_scale_position(j, 0, bit);
      if (((1 + j) >> bit & 1) != 0) scales[at / 8] |= static_cast<uint8_t>(1 << at % 8);
    }
  }
  return scales;
}

float ascending_value(int element, int code) {
  return 2.0f * static_cast<float>(1 + element / 32) * static_cast<float>(code);
}

// The nibble of an element of Q4_K and Q5_K, whose nibbles begin at byte `start`.
template <int start>
size_t k_nibble_position(int element, int bit) {
  const int pair = element / 64, upper = element / 32 % 2, lane = element % 32;
  return static_cast<size_t>((start + 32 * pair + lane) * 8 + 4 * upper + bit);
}

TEST(Quants, EveryCodeOfQ4_K) {
  check_codes(TensorType::kQ4_K, ascending_scales(TensorType::kQ4_K), k_nibble_position<16>, 4,
              ascending_value);
}

TEST(Quants, EveryCodeOfQ5_K) {
  check_codes(
      TensorType::kQ5_K, ascending_scales(TensorType::kQ5_K),
      [](int element, int bit) {
        if (bit < 4) return k_nibble_position<48>(element, bit);
        return static_cast<size_t>((16 + element % 32) * 8 + element / 32);
      },
      5, ascending_value);
}

TEST(Quants, EveryCodeOfQ6_K) {
  Group scales = empty_group(TensorType::kQ6_K);
  put_half(scales, 208, kHalfTwo);
  for (int j = 0; j < 16; ++j) scales[static_cast<size_t>(192 + j)] = static_cast<uint8_t>(j - 7);
  check_codes(
      TensorType::kQ6_K, scales,
      [](int element, int bit) {
        const int half = element / 128, quarter = element / 32 % 4, lane = element % 32;
        if (bit < 4) {
          const int byte = 64 * half + 32 * (quarter & 1) + lane;
          return static_cast<size_t>(byte * 8 + 4 * (quarter >> 1) + bit);
        }
        return static_cast<size_t>((128 + 32 * half + lane) * 8 + 2 * quarter + bit - 4);
      },
      6,
      [](int element, int code) {
        return 2.0f * static_cast<float>(element / 16 - 7) * static_cast<float>(code - 32);
      });
}

template <class T>
std::vector<T> from_hex(const std::string& hex) {
  std::vector<uint8_t> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST(Quants, RandomGroupsEqualThoseOfTheGgufPackage) {
  const auto golden_types = nlohmann::json::parse(read_file(golden("quants.json")));
  const TensorType types[] = {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                              TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ4_K,
                              TensorType::kQ5_K, TensorType::kQ6_K};
  ASSERT_EQ(golden_types.size(), std::size(types));
  for (TensorType type : types) {
    const auto& golden_type = golden_types.at(traits(type).name);
    const auto bytes = from_hex<uint8_t>(golden_type["bytes"]);
    const auto expected = from_hex<float>(golden_type["floats"]);
    std::vector<float> out(expected.size());
    dequantize(type, std::as_bytes(std::span(bytes)), out);
    for (size_t i = 0; i < out.size(); ++i)
      ASSERT_EQ(out[i], expected[i]) << traits(type).name << " element " << i;
  }
}

TEST(Quants, LengthsMustBelongTogether) {
  const Group group = empty_group(TensorType::kQ8_0);
  std::vector<float> out(31);
  EXPECT_THROW(dequantize(TensorType::kQ8_0, std::as_bytes(std::span(group)), out), Error);
  out.resize(64);
  EXPECT_THROW(dequantize(TensorType::kQ8_0, std::as_bytes(std::span(group)), out), Error);
}

TEST(Quants, RowsOfAMatrix) {
  std::vector<float> values(12);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const TensorView view{.name = "m",
                        .type = TensorType::kF32,
                        .shape = {4, 3},
                        .bytes = std::as_bytes(std::span(values))};
  std::vector<float> out(6);
  dequantize_rows(view, 1, 2, out);
  EXPECT_EQ(out, (std::vector<float>{3, 4, 5, 6, 7, 8}));
  for (const auto& [first, count] : {std::pair{3, 2}, {-1, 2}, {5, 0}, {0, -1}})
    EXPECT_THROW(dequantize_rows(view, first, count, out), Error) << first << " " << count;
}

}  // namespace
}  // namespace pagoda::engine

#include "src/core/strides.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace pagoda {
namespace {

using Sizes = std::vector<int64_t>;

Sizes canonical(const Sizes& shape, Sizes stride) {
  canonicalize_strides(static_cast<int>(shape.size()), shape.data(), stride.data());
  return stride;
}

TEST(Strides, GoldenValues) {
  EXPECT_EQ(canonical({100, 16, 1, 128}, {4096, 256, 1, 1}), (Sizes{4096, 256, 128, 1}));
  EXPECT_EQ(canonical({100, 1, 16, 128}, {2048, 1, 128, 1}), (Sizes{2048, 2048, 128, 1}));
  EXPECT_EQ(canonical({1, 16, 1, 128}, {7, 256, 3, 1}), (Sizes{4096, 256, 128, 1}));
  const Sizes untouched{16384, 1024, 128, 1};
  EXPECT_EQ(canonical({100, 16, 8, 128}, untouched), untouched);
}

TEST(Strides, SaysWhetherAnythingChanged) {
  const Sizes shape{3, 1, 8};
  Sizes stride{8, 1, 1};
  EXPECT_TRUE(canonicalize_strides(3, shape.data(), stride.data()));
  EXPECT_FALSE(canonicalize_strides(3, shape.data(), stride.data()));
}

// Idempotent; the address of every element stays; only dimensions of size 1 are touched; and what a
// descriptor accepted before, it accepts after.
TEST(Strides, PropertiesOverRandomTensors) {
  std::mt19937 random(11);
  for (int round = 0; round < 20000; ++round) {
    const int dims = 1 + static_cast<int>(random() % 5);
    Sizes shape, stride;
    for (int i = 0; i < dims; ++i) {
      shape.push_back(random() % 3 == 0 ? 1 : 1 + static_cast<int64_t>(random() % 4));
      stride.push_back(static_cast<int64_t>(random() % 5000));
    }
    const Sizes once = canonical(shape, stride);
    ASSERT_EQ(canonical(shape, once), once);
    for (int i = 0; i < dims; ++i) {
      const auto d = static_cast<size_t>(i);
      // Indices of a dimension of size 1 are 0, so addresses agree if the other strides do.
      ASSERT_TRUE(shape[d] == 1 || once[d] == stride[d]);
    }
    const auto why = [&](const Sizes& s) {
      return why_not_tma(nullptr, PAGODA_BF16, dims, shape.data(), s.data());
    };
    ASSERT_TRUE(!why(stride).empty() || why(once).empty());
  }
}

// A single key head under tensor parallelism, its stride set to 1 by an exporter: refused as it
// comes, accepted as it is made.
TEST(Strides, ADegenerateStrideIsWhatADescriptorRefuses) {
  const Sizes shape{100, 16, 1, 128}, exported{2048, 128, 1, 1};
  EXPECT_EQ(why_not_tma(nullptr, PAGODA_BF16, 4, shape.data(), exported.data()),
            "stride 2 is 2 bytes; a descriptor needs a multiple of 16");
  const Sizes made = canonical(shape, exported);
  EXPECT_EQ(why_not_tma(nullptr, PAGODA_BF16, 4, shape.data(), made.data()), "");
}

TEST(Strides, WhatADescriptorRefuses) {
  const Sizes shape{4, 8, 64}, packed{512, 64, 1};
  const auto why = [&](const void* base, const Sizes& s, const Sizes& t) {
    return why_not_tma(base, PAGODA_F16, static_cast<int>(s.size()), s.data(), t.data());
  };
  EXPECT_EQ(why(nullptr, shape, packed), "");
  EXPECT_NE(why(reinterpret_cast<const void*>(8), shape, packed).find("base address"),
            std::string::npos);
  EXPECT_NE(why(nullptr, shape, {512, 64, 2}).find("innermost stride is 2"), std::string::npos);
  EXPECT_NE(why(nullptr, shape, {512, 68, 1}).find("stride 1 is 136 bytes"), std::string::npos);
  EXPECT_NE(why(nullptr, {4, 0, 64}, packed).find("dimension 1 has 0"), std::string::npos);
  EXPECT_NE(why(nullptr, shape, {int64_t{1} << 39, 64, 1}).find("2^40 bytes"), std::string::npos);
  EXPECT_NE(why(nullptr, shape, {INT64_MAX, 64, 1}).find("2^40 bytes"), std::string::npos);
  EXPECT_NE(why(nullptr, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}).find("6 dimensions"),
            std::string::npos);
}

}  // namespace
}  // namespace pagoda

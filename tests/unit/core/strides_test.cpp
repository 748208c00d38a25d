// Strides of dimensions of size 1, and what a TMA descriptor takes.
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

TEST(CanonicalStrides, GoldenValues) {
  EXPECT_EQ(canonical({100, 16, 1, 128}, {4096, 256, 1, 1}), (Sizes{4096, 256, 128, 1}));
  EXPECT_EQ(canonical({100, 1, 16, 128}, {2048, 1, 128, 1}), (Sizes{2048, 2048, 128, 1}));
  EXPECT_EQ(canonical({1, 16, 1, 128}, {7, 256, 3, 1}), (Sizes{4096, 256, 128, 1}));
}

TEST(CanonicalStrides, SaysWhetherAnythingChanged) {
  const Sizes shape{100, 16, 8, 128}, one_head{100, 16, 1, 128};
  Sizes stride{16384, 1024, 128, 1};
  EXPECT_FALSE(canonicalize_strides(4, shape.data(), stride.data()));
  EXPECT_EQ(stride, (Sizes{16384, 1024, 128, 1}));
  Sizes degenerate{2048, 128, 1, 1};
  EXPECT_TRUE(canonicalize_strides(4, one_head.data(), degenerate.data()));
  EXPECT_FALSE(canonicalize_strides(4, one_head.data(), degenerate.data()));
}

TEST(CanonicalStrides, AllDimensionsOfSizeOne) {
  EXPECT_EQ(canonical({1, 1, 1, 1}, {9, 8, 7, 6}), (Sizes{1, 1, 1, 1}));
  EXPECT_EQ(canonical({}, {}), Sizes{});
}

TEST(CanonicalStrides, AnEmptyDimensionDoesNotBreakTheOthers) {
  EXPECT_EQ(canonical({1, 0, 1, 8}, {5, 16, 3, 1})[2], 8);
}

// The product of strides and sizes of a legal tensor fits; of any tensor it need not.
TEST(CanonicalStrides, DoNotOverflow) {
  const Sizes result = canonical({1, INT64_MAX, 1}, {3, 4, 5});
  EXPECT_EQ(result[1], 4);
  EXPECT_EQ(result[2], 1);
}

struct Strided {
  Sizes shape, stride;
};

Strided draw(std::mt19937_64& random) {
  Strided it;
  const int dims = static_cast<int>(random() % 5) + 1;
  for (int i = 0; i < dims; ++i) {
    it.shape.push_back(random() % 3 == 0 ? 1 : static_cast<int64_t>(random() % 6));
    it.stride.push_back(static_cast<int64_t>(random() % 5000));
  }
  return it;
}

// Offsets of all elements, in row-major order.
Sizes offsets(const Sizes& shape, const Sizes& stride) {
  Sizes all{0};
  for (size_t i = 0; i < shape.size(); ++i) {
    Sizes next;
    for (int64_t base : all)
      for (int64_t j = 0; j < shape[i]; ++j) next.push_back(base + j * stride[i]);
    all = next;
  }
  return all;
}

TEST(CanonicalStrides, KeepEveryAddressTouchOnlySizeOneAndAreIdempotent) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const Strided it = draw(random);
    const Sizes result = canonical(it.shape, it.stride);
    ASSERT_EQ(offsets(it.shape, it.stride), offsets(it.shape, result));
    for (size_t d = 0; d < it.shape.size(); ++d)
      if (it.shape[d] != 1) {
        ASSERT_EQ(result[d], it.stride[d]);
      }
    ASSERT_EQ(canonical(it.shape, result), result);
  }
}

// Independent of what the stride of a dimension of size 1 was.
TEST(CanonicalStrides, ForgetWhatWasThere) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20000; ++i) {
    const Strided it = draw(random);
    Sizes other = it.stride;
    for (size_t d = 0; d < it.shape.size(); ++d)
      if (it.shape[d] == 1) other[d] = static_cast<int64_t>(random() % 5000);
    ASSERT_EQ(canonical(it.shape, it.stride), canonical(it.shape, other));
  }
}

const void* const kAligned = reinterpret_cast<const void*>(0x1000);

std::string why_not(const Sizes& shape, const Sizes& stride, Dtype dtype = PAGODA_BF16,
                    const void* base = kAligned) {
  return why_not_tma(base, dtype, static_cast<int>(shape.size()), shape.data(), stride.data());
}

TEST(WhyNotTma, TakesWhatADescriptorTakes) {
  EXPECT_EQ(why_not({100, 16, 8, 128}, {16384, 1024, 128, 1}), "");
  EXPECT_EQ(why_not({1}, {1}), "");
  EXPECT_EQ(why_not({int64_t{1} << 32, 8}, {8, 1}), "");
  EXPECT_EQ(why_not({4, 16}, {4, 1}, PAGODA_F32), "");
}

TEST(WhyNotTma, NamesWhatItCannotTake) {
  const auto refuses = [](const std::string& why, const char* part) {
    EXPECT_NE(why.find(part), std::string::npos) << "the sentence is: " << why;
  };
  refuses(why_not({100, 16, 1, 128}, {2048, 128, 1, 1}), "stride 2 is 2 bytes");
  refuses(why_not({100, 128}, {132, 1}), "stride 0 is 264 bytes");
  refuses(why_not({4, 16}, {2, 1}, PAGODA_F32), "stride 0 is 8 bytes");
  refuses(why_not({4, 16}, {8, 1}, PAGODA_INT8), "stride 0 is 8 bytes");
  refuses(why_not({4, 16}, {64, 2}), "innermost stride is 2");
  refuses(why_not({}, {}), "0 dimensions");
  refuses(why_not({2, 2, 2, 2, 2, 8}, {128, 64, 32, 16, 8, 1}), "6 dimensions");
  refuses(why_not({0, 8}, {8, 1}), "dimension 0 has 0 elements");
  refuses(why_not({(int64_t{1} << 32) + 1, 8}, {8, 1}), "dimension 0 has 4294967297 elements");
  refuses(why_not({2, 8}, {int64_t{1} << 39, 1}), "2^40");
  refuses(why_not({2, 8}, {-8, 1}), "stride 0 is -8");
  refuses(why_not({2, 8}, {INT64_MAX / 2 + 8, 1}), "2^40");
  refuses(why_not({2, 8}, {8, 1}, PAGODA_BF16, reinterpret_cast<const void*>(0x1008)),
          "base address");
}

// One key head per rank, as a framework exports it: refused as it comes, taken when canonical.
TEST(WhyNotTma, TakesSingletonsAfterTheyWereMadeCanonical) {
  const Sizes shape{100, 16, 1, 128}, given{2048, 128, 1, 1};
  EXPECT_NE(why_not(shape, given), "");
  EXPECT_EQ(why_not(shape, canonical(shape, given)), "");
}

// The rules hold for every tensor whose dense part is a multiple of 16 bytes, whatever its
// dimensions of size 1 said.
TEST(WhyNotTma, TakesEveryCanonicalDenseTensor) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 5000; ++i) {
    Sizes shape, stride;
    for (int d = 0; d < 3; ++d) shape.push_back(static_cast<int64_t>(random() % 3) + 1);
    shape.push_back(static_cast<int64_t>(random() % 16 + 1) * 8);
    stride.resize(4);
    int64_t step = 1;
    for (size_t d = 4; d-- > 0; step *= shape[d])
      stride[d] = shape[d] == 1 ? static_cast<int64_t>(random() % 9) : step;
    ASSERT_EQ(why_not(shape, canonical(shape, stride)), "");
  }
}

}  // namespace
}  // namespace pagoda

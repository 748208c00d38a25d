// Keys of int8 meet queries that are whole numbers, in tiles of int8 where rows are few and in
// tiles of f16 otherwise: a row has the same bits in all of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/dtype.h"
#include "cpu/features.h"
#include "cpu/kernels.h"

namespace pagoda::cpu {
namespace {

#ifdef PAGODA_CPU_X86
constexpr int kAllRows = 70;  // more than those that use keys as they lie
constexpr int kKeys = 192;

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, FreeMemory>;

Memory aligned_memory(size_t bytes) {
  return Memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
}

struct Inputs {
  int32_t dim;
  Element element;                   // of the queries
  std::vector<uint16_t> queries;     // [kAllRows, dim]
  std::vector<int8_t> keys, values;  // [kKeys, dim], in pages of any size one after the other
};

// Rows of very different sizes; one of zeros, one with an element above all others, one with NaN.
Inputs make_inputs(int32_t dim, Element element, uint32_t seed) {
  Inputs it{dim, element, {}, {}, {}};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (int row = 0; row < kAllRows; ++row) {
    const float size = element == Element::f16 ? 1.0f : std::exp(8 * normal(random));
    for (int d = 0; d < dim; ++d) {
      float x = size * normal(random) * std::exp(normal(random));
      if (row == 2) x = 0;
      if (row == 5 && d == 7) x *= 1000;
      if (row == 9 && d == dim - 1) x = std::nanf("");
      it.queries.push_back(element == Element::f16 ? from_float<Half>(x).bits
                                                   : from_float<Bfloat16>(x).bits);
    }
  }
  for (auto* codes : {&it.keys, &it.values})
    for (int i = 0; i < kKeys * dim; ++i) codes->push_back(static_cast<int8_t>(random()));
  return it;
}

struct Outcome {
  float m, l;
  std::vector<float> o;  // [dim]
};

// Of the rows [first, first + count) as one task.
std::vector<Outcome> attend(const Inputs& in, int first, int count, int page_size) {
  const TileKernels& kernels = amx_fp16::kTileKernels;
  const auto padded = static_cast<size_t>((count + 31) / 32 * 32);
  const auto dim = static_cast<size_t>(in.dim);
  const Memory own = aligned_memory(static_cast<size_t>(kernels.own_bytes(in.dim, in.dim, count)));
  const Memory outputs = aligned_memory(padded * dim * sizeof(float));
  std::vector<float> m(padded), l(padded);
  std::vector<uint64_t> seen(2 * padded);
  std::vector<int32_t> begin(padded, 0), end(padded, kKeys), position(padded, kKeys), pages;
  for (int i = 0; i < kKeys / page_size; ++i) pages.push_back(i);
  std::vector<const char*> rows;
  for (int i = first; i < first + count; ++i)
    rows.push_back(reinterpret_cast<const char*>(&in.queries[static_cast<size_t>(i) * dim]));
  kernels.take_queries({.num_rows = count,
                        .head_dim = in.dim,
                        .element = in.element,
                        .keys = Element::int8,
                        .rows = rows.data()},
                       in.dim, own.get());
  const auto paged = [&](const std::vector<int8_t>& codes) {
    return PagedRows{.base = reinterpret_cast<const char*>(codes.data()),
                     .pages = pages.data(),
                     .page_stride = int64_t{in.dim} * page_size,
                     .token_stride = in.dim,
                     .page_size = page_size,
                     .scales = nullptr,
                     .scale_page_stride = 0,
                     .scale_token_stride = 0};
  };
  AttendTask task{};
  task.num_rows = count;
  task.head_dim = task.head_dim_v = in.dim;
  task.key_element = task.value_element = Element::int8;
  task.scale = 0x1p-10f;
  task.num_ranks = 1;
  task.visible_begin = begin.data();
  task.visible_end = end.data();
  task.position = position.data();
  task.keys = paged(in.keys);
  task.values = paged(in.values);
  task.key_end = kKeys;
  task.state = {m.data(), l.data(), static_cast<float*>(outputs.get())};
  task.seen = seen.data();
  task.own = own.get();
  kernels.attend(task);
  std::vector<Outcome> all;
  for (size_t r = 0; r < static_cast<size_t>(count); ++r) {
    all.push_back({m[r], l[r], {}});
    for (size_t c = 0; c < dim; ++c)
      all[r].o.push_back(task.state.o[(r / kRowPadding * dim + c) * kRowPadding + r % kRowPadding]);
  }
  return all;
}

// NaN is the same whatever its bits: a result has only one.
bool is_same(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : bits_of_float(a) == bits_of_float(b);
}

TEST(AmxWhole, RowsHaveTheirBitsInAnyCompany) {
  if (!detect_features().amx_fp16) GTEST_SKIP() << "this machine has no AMX of f16, or refuses it";
  for (Element element : {Element::bf16, Element::f16})
    for (int32_t dim : {64, 128, 256}) {
      const Inputs in = make_inputs(dim, element, static_cast<uint32_t>(dim));
      const std::vector<Outcome> all = attend(in, 0, kAllRows, 16);
      EXPECT_TRUE(std::isnan(all[9].l));
      EXPECT_FALSE(std::isnan(all[8].l));
      for (int count : {1, 4, 7, 16, 17, 40})
        for (int page_size : {8, 16, 96}) {
          const int first = count % 3;
          const std::vector<Outcome> some = attend(in, first, count, page_size);
          for (size_t r = 0; r < some.size(); ++r) {
            const Outcome &want = all[static_cast<size_t>(first) + r], &have = some[r];
            ASSERT_TRUE(is_same(want.m, have.m) && is_same(want.l, have.l))
                << "row " << r << " of " << count << ", dim " << dim << ", page " << page_size;
            for (size_t c = 0; c < have.o.size(); ++c)
              ASSERT_TRUE(is_same(want.o[c], have.o[c]))
                  << "row " << r << " of " << count << ", column " << c << " of " << dim;
          }
        }
    }
}

// The largest scores there are: every sum on the way is exact.
TEST(AmxWhole, LargestScoresAreExact) {
  if (!detect_features().amx_fp16) GTEST_SKIP() << "this machine has no AMX of f16, or refuses it";
  for (int32_t dim : {64, 128, 256}) {
    Inputs in = make_inputs(dim, Element::bf16, 1);
    std::mt19937 random(3);
    for (uint16_t& x : in.queries) x = random() % 2 != 0 ? 0x3f81 : 0x3fff;
    for (int8_t& x : in.keys) x = random() % 8 != 0 ? -128 : -127;
    const std::vector<Outcome> all = attend(in, 0, kAllRows, 16), four = attend(in, 4, 4, 16);
    for (size_t r = 0; r < four.size(); ++r) {
      ASSERT_EQ(bits_of_float(all[4 + r].m), bits_of_float(four[r].m));
      ASSERT_EQ(bits_of_float(all[4 + r].l), bits_of_float(four[r].l));
    }
  }
}
#endif

}  // namespace
}  // namespace pagoda::cpu

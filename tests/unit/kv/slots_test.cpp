// Where tokens lie: the golden values of the contract, and both forms against their definitions.
#include "src/kv/slots.h"

#include <gtest/gtest.h>

#include <vector>

#include "src/kv/page_table.h"

namespace pagoda {
namespace {

std::vector<int64_t> slots(const PageLayout& layout, const std::vector<int32_t>& row, int32_t first,
                           size_t count) {
  std::vector<int64_t> out(count, -7);
  write_slots(layout, row, first, out);
  return out;
}

std::vector<int32_t> columns(const PageLayout& layout, const std::vector<int32_t>& row) {
  std::vector<int32_t> out(static_cast<size_t>(num_columns(layout, row)));
  write_columns(layout, row, 0, out);
  return out;
}

TEST(Slots, OnePagePerEntry) {
  const PageLayout layout{.page_size = 4};
  EXPECT_EQ(slots(layout, {9, 2}, 0, 8), (std::vector<int64_t>{36, 37, 38, 39, 8, 9, 10, 11}));
  EXPECT_EQ(slots(layout, {9, 2}, 3, 2), (std::vector<int64_t>{39, 8}));
  EXPECT_EQ(slots(layout, {9, 2}, 7, 0), std::vector<int64_t>{});
}

TEST(Slots, GoldenOfTwoRanks) {
  PageLayout layout{.page_size = 4, .num_ranks = 2, .rank = 0, .interleave = 2};
  EXPECT_EQ(slots(layout, {5, 9}, 0, 12),
            (std::vector<int64_t>{20, 21, -1, -1, 22, 23, -1, -1, 36, 37, -1, -1}));
  layout.rank = 1;
  EXPECT_EQ(slots(layout, {5, 9}, 0, 12),
            (std::vector<int64_t>{-1, -1, 20, 21, -1, -1, 22, 23, -1, -1, 36, 37}));
}

TEST(Slots, GoldenOfKernelPages) {
  const PageLayout layout{.page_size = 32, .kernel_pages = 2};
  EXPECT_EQ(columns(layout, {3, 7}), (std::vector<int32_t>{6, 7, 14, 15}));
}

// The definition by kernel pages: slot = table[vb * k + local / kernel_page_size] *
// kernel_page_size + local % kernel_page_size, for every position, rank and division.
TEST(Slots, EqualTheDefinitionByKernelPages) {
  const std::vector<int32_t> row{5, 9, 1, 70000, 3};
  int compared = 0;
  for (int32_t page_size : {4, 8, 12})
    for (int32_t kernel_pages : {1, 2, 4})
      for (int32_t ranks : {1, 2, 3})
        for (int32_t rank = 0; rank < ranks; ++rank)
          for (int32_t interleave : {1, 2, 4}) {
            const PageLayout layout{page_size, kernel_pages, ranks, rank, interleave};
            const std::vector<int32_t> table = columns(layout, row);
            const int32_t kernel = page_size / kernel_pages, span = page_size * ranks;
            const auto count = static_cast<size_t>(span) * row.size();
            const std::vector<int64_t> all = slots(layout, row, 0, count);
            for (int32_t p = 0; p < static_cast<int32_t>(count); ++p) {
              const int32_t off = p % span, vb = p / span;
              const int32_t local = off / (interleave * ranks) * interleave + off % interleave;
              const auto column = static_cast<size_t>(vb * kernel_pages + local / kernel);
              const bool here = off / interleave % ranks == rank;
              const int64_t want = here ? int64_t{table[column]} * kernel + local % kernel : -1;
              ASSERT_EQ(all[static_cast<size_t>(p)], want) << "position " << p;
              ++compared;
            }
          }
  EXPECT_EQ(compared, 15120);
}

// Every token lies on exactly one rank, and the ranks' slots are distinct there.
TEST(Slots, RanksShareTheTokensOut) {
  constexpr size_t kTokens = 240;
  std::vector<int> owners(kTokens, 0);
  for (int32_t rank = 0; rank < 3; ++rank) {
    const PageLayout layout{.page_size = 8, .num_ranks = 3, .rank = rank, .interleave = 4};
    const auto local = slots(layout, {4, 2, 8, 1, 9, 5, 3, 6, 7, 10}, 0, kTokens);
    std::vector<bool> taken(88, false);
    for (size_t p = 0; p < kTokens; ++p) {
      if (local[p] < 0) continue;
      ++owners[p];
      EXPECT_FALSE(taken[static_cast<size_t>(local[p])]);
      taken[static_cast<size_t>(local[p])] = true;
    }
  }
  EXPECT_EQ(owners, std::vector<int>(kTokens, 1));
}

TEST(Slots, AreSixtyFourBitsWide) {
  const PageLayout layout{.page_size = 1024};
  EXPECT_EQ(slots(layout, {INT32_MAX}, 1023, 1),
            (std::vector<int64_t>{int64_t{INT32_MAX} * 1024 + 1023}));
}

}  // namespace
}  // namespace pagoda

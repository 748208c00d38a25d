// The order of requests in a batch and its splits: the golden cases of V1 engines, reordering and
// splitting, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <pagoda/batch.hpp>
#include <random>
#include <string>

namespace pagoda::test {
namespace {

// Tokens of this step, tokens with keys before it, tokens of the prompt.
struct Row {
  int32_t query_len, num_computed, num_prompt;
};

struct OrderCase {
  const char* name;
  int32_t threshold;
  std::vector<Row> rows;
  std::vector<int32_t> order;
};

const std::vector<OrderCase> kOrderCases{
    {"decodes alone", 1, {{1, 10, 10}, {1, 20, 20}, {1, 30, 30}}, {0, 1, 2}},
    {"long extends alone", 1, {{100, 100, 100}, {200, 200, 200}, {300, 300, 300}}, {0, 1, 2}},
    {"decodes between long extends",
     1,
     {{100, 100, 100}, {1, 10, 10}, {200, 200, 200}, {1, 20, 20}},
     {3, 1, 2, 0}},
    {"in order", 1, {{1, 10, 10}, {1, 20, 20}, {100, 100, 100}, {200, 0, 200}}, {0, 1, 2, 3}},
    {"one request", 1, {{1, 10, 10}}, {0}},
    {"threshold 4", 4, {{2, 10, 10}, {3, 20, 20}, {5, 30, 30}, {6, 40, 40}}, {0, 1, 2, 3}},
    {"decodes last", 1, {{100, 100, 100}, {200, 200, 200}, {1, 10, 10}, {1, 20, 20}}, {2, 3, 0, 1}},
    {"backwards", 1, {{100, 0, 100}, {10, 50, 50}, {1, 10, 10}}, {2, 1, 0}},
    {"long extends and prefills",
     1,
     {{100, 0, 100}, {10, 50, 50}, {200, 0, 200}, {20, 75, 75}},
     {3, 1, 2, 0}},
    {"nine of three kinds",
     1,
     {{1, 20, 20},
      {1, 50, 50},
      {374, 0, 374},
      {300, 20, 20},
      {1, 20, 20},
      {256, 0, 256},
      {1, 5, 5},
      {27, 0, 27},
      {1, 4, 4}},
     {0, 1, 6, 8, 4, 3, 2, 7, 5}},
    {"a prompt of one token",
     1,
     {{100, 0, 100}, {1, 0, 1}, {50, 100, 100}, {1, 10, 10}},
     {3, 2, 0, 1}},
    {"prompts of one token", 1, {{1, 0, 1}, {1, 0, 1}, {1, 50, 50}, {200, 0, 200}}, {2, 1, 0, 3}},
    {"four kinds in order",
     1,
     {{1, 100, 100}, {1, 50, 100}, {10, 50, 100}, {100, 0, 100}},
     {0, 1, 2, 3}},
    {"four kinds mixed",
     1,
     {{100, 0, 100}, {1, 50, 100}, {1, 100, 100}, {10, 50, 100}},
     {2, 1, 3, 0}},
    {"several short extends",
     2,
     {{2, 100, 100}, {2, 50, 200}, {2, 75, 150}, {2, 200, 200}},
     {0, 3, 2, 1}},
    {"speculative threshold",
     5,
     {{5, 100, 100}, {5, 50, 100}, {5, 0, 100}, {10, 50, 100}},
     {0, 1, 3, 2}},
};

struct Columns {
  std::vector<int32_t> query_lens, num_computed, num_prompt;

  explicit Columns(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      query_lens.push_back(row.query_len);
      num_computed.push_back(row.num_computed);
      num_prompt.push_back(row.num_prompt);
    }
  }
  StepRequests requests() const { return {query_lens, num_computed, num_prompt}; }
};

TEST(BatchOrder, GoldenCases) {
  ASSERT_EQ(kOrderCases.size(), 16u);
  for (const OrderCase& c : kOrderCases) {
    const Columns columns(c.rows);
    const Order found = order_batch(columns.requests(), c.threshold);
    EXPECT_EQ(found.order, c.order) << c.name;
    EXPECT_EQ(found.changed, !std::is_sorted(c.order.begin(), c.order.end())) << c.name;
  }
}

std::vector<pagoda_request_kind> kinds_of(const Columns& columns, int32_t threshold) {
  std::vector<pagoda_request_kind> kinds(columns.query_lens.size());
  const StepRequests requests = columns.requests();
  check(pagoda_classify_requests(&requests, threshold, kinds.data()));
  return kinds;
}

TEST(BatchOrder, AnyBatchIsSortedWithTheFewestMoves) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<Row> rows(random() % 12);
    for (Row& row : rows)
      row = {static_cast<int32_t>(1 + random() % 6), static_cast<int32_t>(random() % 3 * 10), 15};
    const Columns columns(rows);
    const Order found = order_batch(columns.requests(), 3);
    const auto before = kinds_of(columns, 3);
    auto after = before;
    found.apply(std::span(after));
    EXPECT_TRUE(std::is_sorted(after.begin(), after.end()));
    // A request of the right kind in the right region has not moved.
    for (size_t i = 0; i < rows.size(); ++i) {
      if (before[i] != after[i]) continue;
      EXPECT_EQ(found.order[i], static_cast<int32_t>(i));
    }
    std::vector<int32_t> places(rows.size()), moved(rows.size());
    std::iota(places.begin(), places.end(), 0);
    moved = places;
    found.apply(std::span(moved));
    EXPECT_EQ(moved, found.order);
    std::sort(moved.begin(), moved.end());
    EXPECT_EQ(moved, places);
  }
}

TEST(BatchOrder, RowsOfAnySizeMove) {
  const std::vector<int32_t> order{2, 0, 1};
  std::array<char, 12> rows{'a', 'b', '.', '.', 'c', 'd', '.', '.', 'e', 'f', '.', '.'};
  check(pagoda_apply_order(order.data(), 3, rows.data(), 2, 4));
  EXPECT_EQ(std::string(rows.begin(), rows.end()), "ef..ab..cd..");
}

TEST(BatchOrder, WhatIsNoOrderIsRefusedAndNothingMoves) {
  std::array<int, 3> rows{1, 2, 3};
  for (const std::array<int32_t, 3>& order :
       {std::array<int32_t, 3>{0, 0, 1}, {0, 1, 3}, {-1, 0, 1}})
    EXPECT_EQ(pagoda_apply_order(order.data(), 3, rows.data(), 4, 4), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_apply_order(std::array<int32_t, 1>{0}.data(), 1, rows.data(), 4, 3),
            PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(rows, (std::array<int, 3>{1, 2, 3}));
}

TEST(BatchOrder, WrongRequestsAreRefused) {
  const Columns negative({{1, 1, 1}, {-2, 1, 1}});
  EXPECT_THROW(order_batch(negative.requests(), 1), Error);
  const Columns fine({{1, 1, 1}});
  EXPECT_THROW(order_batch(fine.requests(), 0), Error);
  EXPECT_EQ(pagoda_order_batch(nullptr, 1, nullptr, nullptr), PAGODA_INVALID_ARGUMENT);
  const StepRequests requests = fine.requests();
  EXPECT_EQ(pagoda_order_batch(&requests, 1, nullptr, nullptr), PAGODA_INVALID_ARGUMENT);
}

ThresholdOptions threshold_options(int32_t threshold, int32_t num_speculative) {
  ThresholdOptions options;
  options.threshold = threshold;
  options.num_speculative = num_speculative;
  return options;
}

TEST(DecodeThreshold, CountsDraftsAndRanks) {
  EXPECT_EQ(decode_threshold({}), 1);
  EXPECT_EQ(decode_threshold(threshold_options(1, 3)), 4);
  EXPECT_EQ(decode_threshold(threshold_options(8, 3)), 8);
  ThresholdOptions options = threshold_options(1, 3);
  options.parallel_drafting = 1;
  EXPECT_EQ(decode_threshold(options), 7);
  options.uniform_decodes_only = 1;
  EXPECT_EQ(decode_threshold(options), 1);
  options.uniform_decodes_only = 0;
  options.num_ranks = 2;
  EXPECT_EQ(decode_threshold(options), 7);
  options.single_token_on_ranks = 1;
  EXPECT_EQ(decode_threshold(options), 1);
  EXPECT_THROW(decode_threshold(threshold_options(-1, 0)), Error);
  EXPECT_THROW(decode_threshold(threshold_options(1, INT32_MAX)), Error);
}

std::vector<int32_t> starts_of(const std::vector<int32_t>& lens) {
  std::vector<int32_t> starts{0};
  for (int32_t len : lens) starts.push_back(starts.back() + len);
  return starts;
}

// Decodes, prefills and their tokens, as serving engines count them.
std::array<int32_t, 4> split(const std::vector<int32_t>& lens, int32_t threshold, bool uniform,
                             int32_t padding = 0) {
  SplitOptions options;
  options.threshold = threshold;
  options.uniform = uniform ? 1 : 0;
  const std::vector<int32_t> starts = starts_of(lens);
  const Split s = split_decodes(starts, starts.back() + padding, options);
  EXPECT_EQ(s.num_extends, 0);
  return {s.num_decodes, s.num_prefills, s.num_decode_tokens, s.num_prefill_tokens};
}

using Counts = std::array<int32_t, 4>;

TEST(BatchSplit, DecodesAndPrefills) {
  EXPECT_EQ(split({1, 1, 1}, 1, false), (Counts{3, 0, 3, 0}));
  EXPECT_EQ(split({4, 2, 1}, 4, false), (Counts{3, 0, 7, 0}));
  EXPECT_EQ(split({5, 6, 7}, 4, false), (Counts{0, 3, 0, 18}));
  EXPECT_EQ(split({5, 1}, 4, false), (Counts{0, 2, 0, 6})) << "the first one decides";
  EXPECT_EQ(split({2, 1, 3, 4, 5, 6, 7, 8}, 4, false), (Counts{4, 4, 10, 26}));
  EXPECT_EQ(split({1, 1, 9}, 1, false, 5), (Counts{2, 1, 2, 14})) << "padding goes with the last";
  EXPECT_EQ(split({1, 1}, 1, false, 6), (Counts{2, 0, 8, 0}));
  EXPECT_EQ(split({}, 1, false), (Counts{0, 0, 0, 0}));
}

TEST(BatchSplit, Uniform) {
  EXPECT_EQ(split({4, 4, 4}, 4, true), (Counts{3, 0, 12, 0}));
  EXPECT_EQ(split({4, 4, 2, 1}, 4, true), (Counts{2, 2, 8, 3}));
  EXPECT_EQ(split({2, 2, 2, 5, 6}, 4, true), (Counts{3, 2, 6, 11}));
  EXPECT_EQ(split({5, 5}, 4, true), (Counts{0, 2, 0, 10}));
  EXPECT_EQ(split({4, 4, 0, 0}, 4, true), (Counts{4, 0, 8, 0})) << "padded to the graph's size";
  EXPECT_EQ(split({4, 0, 4, 0}, 4, true), (Counts{4, 0, 8, 0}));
  EXPECT_EQ(split({4, 0, 3}, 4, true), (Counts{1, 2, 4, 3})) << "not uniform: padding counts";
  EXPECT_EQ(split({0, 1, 1}, 1, true), (Counts{3, 0, 2, 0}));
  EXPECT_EQ(split({1, 1, 0, 5}, 1, true), (Counts{2, 2, 2, 5}));
}

TEST(BatchSplit, ShortExtendsAsPrefills) {
  const std::vector<int32_t> starts = starts_of({1, 1, 1, 1, 9});
  const std::vector<uint8_t> prefilling{0, 0, 1, 1, 1};
  SplitOptions options;
  options.short_extends_are_prefills = 1;
  options.prefilling = prefilling.data();
  Split s = split_decodes(starts, 13, options);
  EXPECT_EQ((Counts{s.num_decodes, s.num_prefills, s.num_decode_tokens, s.num_prefill_tokens}),
            (Counts{2, 3, 2, 11}));
  s = split_decodes(std::span(starts).first(5), 4, options);
  EXPECT_EQ((Counts{s.num_decodes, s.num_prefills, s.num_decode_tokens, s.num_prefill_tokens}),
            (Counts{2, 2, 2, 2}))
      << "even where all are short";
  options.prefilling = nullptr;
  EXPECT_THROW(split_decodes(starts, 13, options), Error);
}

std::array<int32_t, 6> split3(const std::vector<int32_t>& lens, const std::vector<int32_t>& seq,
                              int32_t threshold) {
  const std::vector<int32_t> starts = starts_of(lens);
  const Split s = split_extends(starts, seq, starts.back(), threshold);
  return {s.num_decodes,       s.num_extends,       s.num_prefills,
          s.num_decode_tokens, s.num_extend_tokens, s.num_prefill_tokens};
}

TEST(BatchSplit, DecodesExtendsAndPrefills) {
  using Six = std::array<int32_t, 6>;
  EXPECT_EQ(split3({1, 1, 1}, {10, 20, 30}, 1), (Six{3, 0, 0, 3, 0, 0}));
  EXPECT_EQ(split3({2, 3, 4}, {5, 9, 9}, 1), (Six{0, 3, 0, 0, 9, 0}));
  EXPECT_EQ(split3({2, 3, 4}, {2, 3, 4}, 1), (Six{0, 0, 3, 0, 0, 9}));
  EXPECT_EQ(split3({1, 1, 5, 6, 7}, {10, 20, 9, 6, 7}, 1), (Six{2, 1, 2, 2, 5, 13}));
  EXPECT_EQ(split3({1, 5}, {1, 5}, 1), (Six{1, 0, 1, 1, 0, 5})) << "one token is no prefill here";
}

TEST(BatchSplit, WrongArraysAreRefused) {
  EXPECT_THROW(split_decodes(std::vector<int32_t>{0, 2, 1}, 2), Error);
  EXPECT_THROW(split_decodes(std::vector<int32_t>{1, 2}, 2), Error);
  EXPECT_THROW(split_decodes(std::vector<int32_t>{0, 2}, 1), Error);
  Split out;
  EXPECT_EQ(pagoda_split_decodes(nullptr, 0, 0, nullptr, &out), PAGODA_INVALID_ARGUMENT);
  const int32_t start = 0;
  EXPECT_EQ(pagoda_split_decodes(&start, 0, 0, nullptr, nullptr), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_split_decodes(&start, -1, 0, nullptr, &out), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_split_decodes(&start, 0, 0, nullptr, &out), PAGODA_OK);
}

}  // namespace
}  // namespace pagoda::test

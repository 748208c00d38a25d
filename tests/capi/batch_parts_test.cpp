// Batches made from batches: ranges of requests, padding, chunks, cross attention, shared layers.
#include <gtest/gtest.h>

#include <pagoda/batch.hpp>
#include <string>

namespace pagoda::test {
namespace {

// Three requests of 4, 10 and 5 query tokens and 6, 17 and 9 keys, on pages of 2 tokens.
struct Arrays {
  std::vector<int32_t> query_start_loc{0, 4, 14, 19}, seq_lens{6, 17, 9};
  std::vector<int32_t> page_table = std::vector<int32_t>(3 * 10);
  std::vector<int64_t> slots = std::vector<int64_t>(19);
  std::vector<uint8_t> causal{1, 0, 1};
  Batch batch;

  Arrays() {
    for (size_t i = 0; i < page_table.size(); ++i) page_table[i] = static_cast<int32_t>(100 + i);
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<int64_t>(1000 + i);
    batch.num_reqs = 3;
    batch.num_tokens = 19;
    batch.query_start_loc = query_start_loc.data();
    batch.seq_lens = seq_lens.data();
    batch.page_table = page_table.data();
    batch.page_table_stride = 10;
    batch.page_table_width = 9;
    batch.slot_mapping = slots.data();
    batch.causal = causal.data();
  }
};

TEST(SubBatch, IsRebasedAndBorrowsTheRest) {
  Arrays whole;
  const SubBatch sub = sub_batch(whole.batch, 1, 2);
  EXPECT_EQ(sub.first_token, 4);
  EXPECT_EQ(sub.query_start_loc, (std::vector<int32_t>{0, 10, 15}));
  EXPECT_EQ(sub.batch.query_start_loc, sub.query_start_loc.data());
  EXPECT_EQ(sub.batch.num_reqs, 2);
  EXPECT_EQ(sub.batch.num_tokens, 15);
  EXPECT_EQ(sub.batch.seq_lens, whole.seq_lens.data() + 1);
  EXPECT_EQ(sub.batch.page_table, whole.page_table.data() + 10);
  EXPECT_EQ(sub.batch.slot_mapping, whole.slots.data() + 4);
  EXPECT_EQ(sub.batch.causal, whole.causal.data() + 1);
}

// The mistake that this form excludes: parts that still name the first group's table and slots.
TEST(SubBatch, FollowsAnotherGroupsTableAndSlots) {
  Arrays whole;
  const std::vector<int32_t> other_table(30, 7);
  const std::vector<int64_t> other_slots(19, 9);
  Batch group = whole.batch;
  group.page_table = other_table.data();
  group.slot_mapping = other_slots.data();
  for (const auto& [first, count] : {std::pair{0, 1}, {1, 2}, {2, 1}, {3, 0}}) {
    const SubBatch sub = sub_batch(group, first, count);
    EXPECT_EQ(sub.batch.page_table, other_table.data() + 10 * first);
    EXPECT_EQ(sub.batch.slot_mapping, other_slots.data() + whole.query_start_loc[first]);
  }
}

// A mask of other requests would show a part the wrong keys.
TEST(SubBatch, HasNoMaskOfTheWhole) {
  Arrays whole;
  int any = 0;
  whole.batch.block_mask = reinterpret_cast<const pagoda_block_mask*>(&any);
  EXPECT_EQ(sub_batch(whole.batch, 1, 2).batch.block_mask, nullptr);
  EXPECT_EQ(last_queries(whole.batch, std::vector<int32_t>{3}).batch.block_mask, nullptr);
  EXPECT_EQ(ChunkedBatch(whole.batch, 4, 2).batch(whole.batch).block_mask, nullptr);
}

TEST(SubBatch, TheFirstRequestsMayBorrowTheirStarts) {
  Arrays whole;
  Batch sub;
  EXPECT_EQ(pagoda_sub_batch(&whole.batch, 0, 2, nullptr, &sub, nullptr), PAGODA_OK);
  EXPECT_EQ(sub.query_start_loc, whole.query_start_loc.data());
  EXPECT_EQ(sub.num_tokens, 14);
  EXPECT_EQ(pagoda_sub_batch(&whole.batch, 1, 2, nullptr, &sub, nullptr), PAGODA_INVALID_ARGUMENT);
}

TEST(SubBatch, RangesOutsideTheBatchAreRefused) {
  Arrays whole;
  for (const auto& [first, count] : {std::pair{-1, 1}, {0, 4}, {3, 1}, {2, INT32_MAX}, {1, -1}}) {
    std::vector<int32_t> starts(8);
    Batch sub;
    EXPECT_EQ(pagoda_sub_batch(&whole.batch, first, count, starts.data(), &sub, nullptr),
              PAGODA_INVALID_ARGUMENT)
        << first << ", " << count;
  }
}

TEST(LastQueries, AreThoseWhoseLogitsAreWanted) {
  const std::vector<int32_t> starts{0, 15, 20, 28}, seq_lens{41, 31, 40}, tokens{14, 18, 19, 27};
  Batch whole;
  whole.num_reqs = 3;
  whole.num_tokens = 28;
  whole.query_start_loc = starts.data();
  whole.seq_lens = seq_lens.data();
  const SubBatch some = last_queries(whole, tokens);
  EXPECT_EQ(some.query_start_loc, (std::vector<int32_t>{0, 1, 3, 4}));
  EXPECT_EQ(some.batch.num_tokens, 4);
  EXPECT_EQ(some.batch.max_query_len, 2);
  EXPECT_EQ(some.batch.seq_lens, seq_lens.data());
  EXPECT_EQ(some.batch.slot_mapping, nullptr) << "a layer that shares a cache never writes it";
  EXPECT_EQ(last_queries(whole, std::vector<int32_t>{19}).query_start_loc,
            (std::vector<int32_t>{0, 0, 1, 1}));
  for (const std::vector<int32_t>& wrong :
       {std::vector<int32_t>{13}, {12, 14}, {19, 18}, {14, 28}, {-1, 14}, {14, 14}})
    EXPECT_THROW(last_queries(whole, wrong), Error) << wrong.front();
}

TEST(PadBatch, FillsUpWithNothing) {
  Arrays whole;
  whole.query_start_loc.resize(6, -5);
  whole.seq_lens.resize(5, -5);
  whole.page_table.resize(50, -5);
  whole.slots.resize(24, 5);
  whole.causal.resize(5, 9);
  Batch& batch = whole.batch;
  batch.query_start_loc = whole.query_start_loc.data();
  batch.seq_lens = whole.seq_lens.data();
  batch.page_table = whole.page_table.data();
  batch.slot_mapping = whole.slots.data();
  batch.causal = whole.causal.data();
  pad_batch(batch, 5, 24);
  EXPECT_EQ(batch.num_reqs, 5);
  EXPECT_EQ(batch.num_tokens, 24);
  EXPECT_EQ(whole.query_start_loc, (std::vector<int32_t>{0, 4, 14, 19, 19, 19}));
  EXPECT_EQ(whole.seq_lens, (std::vector<int32_t>{6, 17, 9, 0, 0}));
  EXPECT_EQ(whole.slots[18], 1018);
  EXPECT_EQ(std::vector<int64_t>(whole.slots.begin() + 19, whole.slots.end()),
            std::vector<int64_t>(5, -1));
  EXPECT_EQ(whole.page_table[29], 129) << "a column beyond the width is not the batch's";
  EXPECT_EQ(whole.page_table[30], 0);
  EXPECT_EQ(whole.page_table[39], -5);
  EXPECT_EQ(whole.page_table[48], 0);
  EXPECT_EQ(whole.causal[4], 1);
  EXPECT_THROW(pad_batch(batch, 4, 24), Error);
  EXPECT_THROW(pad_batch(batch, 5, 23), Error);
}

template <class T>
std::vector<T> copy(const T* array, int32_t size) {
  return {array, array + size};
}

TEST(ChunkedBatch, TheGoldenExample) {
  Arrays whole;
  ChunkedBatch chunked(whole.batch, 4, 2);
  const pagoda_chunked_batch& c = chunked.get();
  ASSERT_EQ(c.num_reqs, 8);
  EXPECT_EQ(copy(c.query_start_loc, 9), (std::vector<int32_t>{0, 2, 4, 5, 9, 13, 14, 18, 19}));
  EXPECT_EQ(copy(c.seq_lens, 8), (std::vector<int32_t>{4, 2, 4, 4, 4, 1, 4, 1}));
  EXPECT_EQ(copy(c.request, 8), (std::vector<int32_t>{0, 0, 1, 1, 1, 1, 2, 2}));
  EXPECT_EQ(copy(c.first_page, 8), (std::vector<int32_t>{0, 2, 2, 4, 6, 8, 2, 4}));
  EXPECT_EQ(c.max_query_len, 4);
  EXPECT_EQ(c.max_seq_len, 4);
  const Batch made = chunked.batch(whole.batch);
  EXPECT_EQ(copy(made.page_table, 16),
            (std::vector<int32_t>{100, 101, 102, 103, 112, 113, 114, 115, 116, 117, 118, 118, 122,
                                  123, 124, 125}))
      << "the last column stands in for those beyond the table";
  EXPECT_EQ(made.slot_mapping, whole.slots.data());
}

TEST(ChunkedBatch, FollowsAnotherGroupsTable) {
  Arrays whole;
  ChunkedBatch chunked(whole.batch, 4, 2);
  chunked.batch(whole.batch);
  std::vector<int32_t> other = whole.page_table;
  for (int32_t& page : other) page += 1000;
  Batch group = whole.batch;
  group.page_table = other.data();
  EXPECT_EQ(chunked.batch(group).page_table[0], 1100);
}

TEST(ChunkedBatch, DecodesAndPaddingStayInPlace) {
  Arrays whole;
  whole.query_start_loc = {0, 1, 1, 2};
  whole.seq_lens = {8, 0, 9};
  whole.batch.num_tokens = 2;
  whole.batch.query_start_loc = whole.query_start_loc.data();
  ChunkedBatch chunked(whole.batch, 4, 2);
  const pagoda_chunked_batch& c = chunked.get();
  ASSERT_EQ(c.num_reqs, 3);
  EXPECT_EQ(copy(c.query_start_loc, 4), (std::vector<int32_t>{0, 1, 1, 2}));
  EXPECT_EQ(copy(c.seq_lens, 3), (std::vector<int32_t>{4, 0, 1}));
  EXPECT_EQ(copy(c.first_page, 3), (std::vector<int32_t>{2, 0, 4}));
}

TEST(ChunkedBatch, WrongNumbersAreRefused) {
  Arrays whole;
  EXPECT_THROW(ChunkedBatch(whole.batch, 5, 2), Error);
  EXPECT_THROW(ChunkedBatch(whole.batch, 0, 2), Error);
  EXPECT_THROW(ChunkedBatch(whole.batch, 4, 0), Error);
  whole.seq_lens[1] = 9;  // fewer than its queries
  EXPECT_THROW(ChunkedBatch(whole.batch, 4, 2), Error);
  whole.seq_lens[1] = 17;
  std::vector<int32_t> room(8);
  Sized<pagoda_chunked_batch> small;
  small.capacity = 7;
  small.query_start_loc = small.seq_lens = small.request = small.first_page = room.data();
  EXPECT_EQ(pagoda_make_chunked(&whole.batch, 4, 2, &small), PAGODA_OUT_OF_LIMITS);
  EXPECT_EQ(room, std::vector<int32_t>(8)) << "a call that fails writes nothing";
}

struct Cross {
  std::vector<int32_t> encoder_lens{3, 5, 2}, num_computed{0, 4, 0};
  std::vector<int32_t> page_table{7, 0, 0, 4, 5, 6, 9, 0, 0};
  std::vector<int32_t> key_start_loc = std::vector<int32_t>(4, -1);
  std::vector<int64_t> slots = std::vector<int64_t>(5, -7);
  CrossBatch cross;

  Cross() {
    cross.num_reqs = 3;
    cross.encoder_lens = encoder_lens.data();
    cross.num_computed = num_computed.data();
    cross.page_table = page_table.data();
    cross.page_table_stride = cross.page_table_width = 3;
    cross.page_size = 8;
    cross.key_start_loc = key_start_loc.data();
    cross.slot_mapping = slots.data();
    cross.slot_capacity = 5;
  }
};

TEST(CrossBatch, KeysAreWrittenInTheFirstStepAlone) {
  Cross first;
  check(pagoda_make_cross(&first.cross));
  EXPECT_EQ(first.cross.num_keys, 5);
  EXPECT_EQ(first.cross.max_encoder_len, 5);
  EXPECT_EQ(first.key_start_loc, (std::vector<int32_t>{0, 3, 3, 5}));
  EXPECT_EQ(first.slots, (std::vector<int64_t>{56, 57, 58, 72, 73}));
}

TEST(CrossBatch, LaterStepsWriteNothing) {
  Cross later;
  later.num_computed = {1, 4, 2};
  check(pagoda_make_cross(&later.cross));
  EXPECT_EQ(later.cross.num_keys, 0);
  EXPECT_EQ(later.key_start_loc, (std::vector<int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(later.slots, std::vector<int64_t>(5, -7));
}

TEST(CrossBatch, TooFewSlotsOrPagesAreRefused) {
  Cross slots;
  slots.cross.slot_capacity = 4;
  EXPECT_EQ(pagoda_make_cross(&slots.cross), PAGODA_OUT_OF_LIMITS);
  EXPECT_EQ(slots.key_start_loc[0], -1);
  Cross pages;
  pages.encoder_lens[1] = 25;
  EXPECT_EQ(pagoda_make_cross(&pages.cross), PAGODA_INVALID_ARGUMENT);
  EXPECT_NE(std::string(pagoda_last_error()).find("on 4 pages"), std::string::npos);
}

SharedLayer layer(const char* name, const char* target = nullptr,
                  pagoda_attention_type type = PAGODA_DECODER) {
  SharedLayer made;
  made.name = name;
  made.target = target;
  made.type = type;
  return made;
}

std::string refusal(const std::vector<SharedLayer>& layers) {
  const pagoda_status status =
      pagoda_check_sharing(layers.data(), static_cast<int32_t>(layers.size()), nullptr);
  return status == PAGODA_INVALID_ARGUMENT ? pagoda_last_error() : "accepted";
}

TEST(SharedLayers, ReadTheCacheOfTheirTarget) {
  const std::vector<SharedLayer> layers{layer("a"), layer("b"), layer("c", "a"), layer("d", "b")};
  std::vector<int32_t> cache(4);
  check(pagoda_check_sharing(layers.data(), 4, cache.data()));
  EXPECT_EQ(cache, (std::vector<int32_t>{0, 1, 0, 1}));
}

TEST(SharedLayers, TargetsThatCannotBeAreRefused) {
  const auto ends_with = [](const std::string& text, const std::string& end) {
    EXPECT_TRUE(text.ends_with(end)) << text;
  };
  ends_with(refusal({layer("a", "a")}), "cannot be the same as the current layer.");
  ends_with(refusal({layer("a", "b"), layer("b")}), "must come before the current layer.");
  ends_with(refusal({layer("a"), layer("b", "x")}), "is not a valid Attention layer in the model.");
  ends_with(refusal({layer("a"), layer("b", "a", PAGODA_ENCODER_DECODER)}),
            "must be the same type as the current layer (encoder-decoder).");
  ends_with(refusal({layer("a"), layer("b", "a"), layer("c", "b")}),
            "has no cache of its own; name the layer that it reads, a.");
  ends_with(refusal({layer("a"), layer("a")}), "which another layer has");
}

}  // namespace
}  // namespace pagoda::test

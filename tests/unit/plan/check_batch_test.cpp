// A batch whose arrays would lead a kernel outside its tensors is refused, and each entry that no
// kernel reads may hold anything.
#include "src/backend/check_batch.h"

#include <gtest/gtest.h>

#include <functional>

#include "src/core/error.h"

namespace pagoda {
namespace {

// Two requests and one of padding: 3 of 11 tokens on pages 1, 2; 2 of 5 on page 3.
struct Step {
  std::vector<int32_t> starts{0, 3, 5, 5}, lens{11, 5, 0};
  std::vector<int32_t> table{1, 2, -1, 3, INT32_MAX, -7, INT32_MIN, 99, 8};
  std::vector<int64_t> slots{16, 17, 18, 27, -1, -9};
  std::vector<uint8_t> causal{1, 0, 1};
  Problem problem;
  int32_t max_query_len = 4, max_seq_len = 24, num_tokens = 6;
  int32_t width = 3;

  Step() {
    problem.page_size = 8;
    problem.limits.num_pages = 8;
  }

  Batch batch() const {
    return {.num_reqs = 3,
            .num_tokens = num_tokens,
            .max_query_len = max_query_len,
            .max_seq_len = max_seq_len,
            .query_start_loc = starts.data(),
            .seq_lens = lens.data(),
            .page_table = table.data(),
            .page_table_stride = 3,
            .page_table_width = width,
            .slot_mapping = slots.data(),
            .causal = causal.data()};
  }
};

TEST(CheckBatch, TakesGarbageWhereNothingReads) {
  const Step step;
  EXPECT_NO_THROW(check_batch_on_host(step.problem, step.batch()));
}

TEST(CheckBatch, TakesMoreQueriesThanKeysAndNoRequests) {
  Step step;
  step.lens = {2, 1, 0};
  EXPECT_NO_THROW(check_batch_on_host(step.problem, step.batch()));
  Batch empty = step.batch();
  empty.num_reqs = empty.num_tokens = 0;
  EXPECT_NO_THROW(check_batch_on_host(step.problem, empty));
}

// The entry behind the last page in use is garbage until the request grows onto it.
TEST(CheckBatch, ReadsOnePageMoreWithTheTokenThatNeedsIt) {
  Step step;
  step.lens[1] = 8;
  EXPECT_NO_THROW(check_batch_on_host(step.problem, step.batch()));
  step.lens[1] = 9;
  EXPECT_THROW(check_batch_on_host(step.problem, step.batch()), Failure);
}

struct Wrong {
  const char* sentence;
  pagoda_status status;
  std::function<void(Step&)> spoil;
};

TEST(CheckBatch, NamesTheEntryTheValueAndTheBound) {
  constexpr pagoda_status kInvalid = PAGODA_INVALID_ARGUMENT, kLimits = PAGODA_OUT_OF_LIMITS;
  const std::vector<Wrong> all{
      {"query_start_loc[0] is 1", kInvalid, [](Step& s) { s.starts[0] = 1; }},
      {"query_start_loc[0] is -1", kInvalid, [](Step& s) { s.starts[0] = -1; }},
      {"query_start_loc[2] is 2", kInvalid, [](Step& s) { s.starts[2] = 2; }},
      {"query_start_loc[3] is 7", kInvalid, [](Step& s) { s.starts[3] = 7; }},
      {"request 0 has 3 query tokens", kLimits, [](Step& s) { s.max_query_len = 2; }},
      {"request 0 has 2147483647 query tokens", kLimits, [](Step& s) { s.starts[1] = INT32_MAX; }},
      {"seq_lens[2] is -1", kInvalid, [](Step& s) { s.lens[2] = -1; }},
      {"seq_lens[0] is 11", kLimits, [](Step& s) { s.max_seq_len = 10; }},
      {"on 4 pages", kInvalid,
       [](Step& s) {
         s.lens[1] = 25;
         s.max_seq_len = 30;
       }},
      {"page_table[0][1] is -1", kInvalid, [](Step& s) { s.table[1] = -1; }},
      {"page_table[1][0] is 8", kInvalid, [](Step& s) { s.table[3] = 8; }},
      {"page_table[1][0] is -2147483648", kInvalid, [](Step& s) { s.table[3] = INT32_MIN; }},
      {"slot_mapping[3] is 64", kInvalid, [](Step& s) { s.slots[3] = 64; }},
      {"slot_mapping[5] is 9223372036854775807", kInvalid, [](Step& s) { s.slots[5] = INT64_MAX; }},
      {"causal[1] is 2", kInvalid, [](Step& s) { s.causal[1] = 2; }},
  };
  for (const Wrong& wrong : all) {
    Step step;
    wrong.spoil(step);
    try {
      check_batch_on_host(step.problem, step.batch());
      ADD_FAILURE() << "it was taken: " << wrong.sentence;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, wrong.status) << failure.what();
      EXPECT_NE(std::string(failure.what()).find(wrong.sentence), std::string::npos)
          << failure.what();
    }
  }
}

// The longest request of 2^31 - 1 tokens: page counts do not wrap.
TEST(CheckBatch, CountsPagesIn64Bits) {
  Step step;
  step.lens[0] = step.max_seq_len = INT32_MAX;
  try {
    check_batch_on_host(step.problem, step.batch());
    ADD_FAILURE() << "it was taken";
  } catch (const Failure& failure) {
    EXPECT_NE(std::string(failure.what()).find("on 268435456 pages"), std::string::npos)
        << failure.what();
  }
}

TEST(CheckKeys, StayWithinTheRowsOfTheCall) {
  Step step;
  Batch batch = step.batch();
  batch.key_start_loc = step.starts.data();
  EXPECT_NO_THROW(check_keys_on_host(batch, 11));
  EXPECT_THROW(check_keys_on_host(batch, 10), Failure);
  step.starts[1] = -1;
  EXPECT_THROW(check_keys_on_host(batch, 11), Failure);
  step.starts[1] = INT32_MAX;
  EXPECT_THROW(check_keys_on_host(batch, 11), Failure);
}

}  // namespace
}  // namespace pagoda

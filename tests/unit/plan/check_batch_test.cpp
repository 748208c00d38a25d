// What check_batch_on_host lets pass, beside the refusals that tests/capi asserts: hostile numbers
// in places that no request uses.
#include "src/backend/check_batch.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "src/core/error.h"

namespace pagoda {
namespace {

struct Fixture : ::testing::Test {
  Fixture() {
    problem.page_size = 8;
    problem.limits.num_pages = 4;
    batch.num_reqs = 3;
    batch.num_tokens = 4;
    batch.max_query_len = 4;
    batch.max_seq_len = 16;
    batch.query_start_loc = starts.data();
    batch.seq_lens = lens.data();
    batch.page_table = table.data();
    batch.page_table_stride = 3;
    batch.page_table_width = 2;
    batch.slot_mapping = slots.data();
  }
  Problem problem;
  Batch batch;
  std::vector<int32_t> starts{0, 1, 3, 3}, lens{9, 8, 0};
  // The third column is beyond the width, the last row belongs to padding.
  std::vector<int32_t> table{3, 1, -9, 2, INT32_MIN, INT32_MAX, -1, -1, -1};
  std::vector<int64_t> slots{31, -1, INT64_MIN, 0};
};

TEST_F(Fixture, GarbageThatNobodyReadsPasses) {
  EXPECT_NO_THROW(check_batch_on_host(problem, batch));
}

TEST_F(Fixture, MoreQueriesThanKeysIsLegal) {
  starts = {0, 4, 4, 4};
  lens = {2, 8, 0};
  EXPECT_NO_THROW(check_batch_on_host(problem, batch));
}

TEST_F(Fixture, TheFirstEntryThatIsReadIsChecked) {
  lens[1] = 9;  // now its second page counts
  EXPECT_THROW(check_batch_on_host(problem, batch), Failure);
}

TEST_F(Fixture, AnEmptyBatchPasses) {
  batch.num_reqs = 0;
  batch.num_tokens = 0;
  EXPECT_NO_THROW(check_batch_on_host(problem, batch));
}

TEST_F(Fixture, KeysOfTheCallMustHoldEveryRequest) {
  std::vector<int32_t> key_starts{0, 9, 17, 17};
  batch.key_start_loc = key_starts.data();
  EXPECT_NO_THROW(check_keys_on_host(batch, 17));
  EXPECT_THROW(check_keys_on_host(batch, 16), Failure);
  key_starts[0] = -1;
  EXPECT_THROW(check_keys_on_host(batch, 17), Failure);
}

}  // namespace
}  // namespace pagoda

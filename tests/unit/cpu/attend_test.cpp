// The CPU backend against the formulas in double, on every instruction set of this machine.
#include <gtest/gtest.h>

#include "cases.h"

namespace pagoda::test {
namespace {

void expect_agreement(const Case& c, const RunOptions& options = {}) {
  const std::vector<Row> want = formula(c);
  for (const std::string& isa : isas_here()) {
    RunOptions own = options;
    own.isa = isa;
    ASSERT_EQ(compare_with_formula(c, want, run(c, own), weight_error(c, isa)), "")
        << isa << ", " << text_of(c);
  }
}

TEST(CpuAttend, RandomCasesAgreeWithTheFormulas) {
  for (uint32_t seed = 0; seed < 150; ++seed) {
    expect_agreement(random_case(seed), {.num_threads = static_cast<int32_t>(1 + seed % 3)});
    if (HasFatalFailure()) return;
  }
}

TEST(CpuAttend, EveryHeadDimAgrees) {
  for (int32_t dim = 8; dim <= 512; dim += 8) {
    Case c{.num_heads = 3, .num_kv_heads = 1, .head_dim = dim, .head_dim_v = 520 - dim};
    c.dtype = static_cast<pagoda_dtype>(dim / 8 % 3);
    c.requests = {{.query_len = 3, .seq_len = 75}};
    expect_agreement(c);
    if (HasFatalFailure()) return;
  }
}

TEST(CpuAttend, EveryLengthOfATileAgrees) {
  for (int32_t len = 1; len <= 65; ++len) {
    Case c{.num_heads = 2, .num_kv_heads = 1, .head_dim = 24, .head_dim_v = 40, .page_size = 8};
    c.dtype = static_cast<pagoda_dtype>(len % 3);
    c.requests = {{.query_len = std::min(len, 5), .seq_len = len}};
    expect_agreement(c);
    if (HasFatalFailure()) return;
  }
}

TEST(CpuAttend, ForcedSplitsAgree) {
  Case c{.num_heads = 6, .num_kv_heads = 2, .head_dim = 32, .head_dim_v = 32};
  c.dtype = PAGODA_BF16;
  c.requests = {{.query_len = 3, .seq_len = 900, .id = 1}, {.query_len = 1, .seq_len = 5, .id = 2}};
  const std::vector<Row> want = formula(c);
  for (const std::string& isa : isas_here())
    for (int32_t splits : {1, 2, 3, 4, 5, 6, 7, 8, 17})
      for (int32_t threads : {1, 3}) {
        const Result result = run(c, {.num_threads = threads, .isa = isa, .num_splits = splits});
        ASSERT_EQ(compare_with_formula(c, want, result, weight_error(c, isa)), "")
            << isa << ", " << splits << " splits";
      }
}

// More rows than a tile of them holds, so that several tiles share a request's keys.
TEST(CpuAttend, LongPrefillAgrees) {
  Case c{.num_heads = 10, .num_kv_heads = 2, .head_dim = 16, .head_dim_v = 16};
  c.window_left = 40;
  c.requests = {{.query_len = 130, .seq_len = 650}};
  expect_agreement(c);
}

// Logits far from 0 and far apart: the maximum is subtracted before anything is squared up.
TEST(CpuAttend, LargeLogitsAgree) {
  Case c{.num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .head_dim_v = 32};
  c.amplitude = 60;
  c.requests = {{.query_len = 4, .seq_len = 200}};
  expect_agreement(c);
}

}  // namespace
}  // namespace pagoda::test

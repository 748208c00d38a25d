// The CPU backend against the formulas in double, on every instruction set of this machine.
#include <gtest/gtest.h>

#include "cases.h"

namespace pagoda::test {
namespace {

class Attend : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Isa, Attend, testing::ValuesIn(isas_here()),
                         [](const auto& info) { return info.param; });

TEST_P(Attend, RandomCasesAgreeWithTheFormulas) {
  for (uint32_t seed = 0; seed < 400; ++seed) {
    const Case c = random_case(seed);
    const Result result = run(c, {.isa = GetParam()});
    ASSERT_EQ(compare_with_formula(c, result), "") << text_of(c);
  }
}

TEST_P(Attend, EveryHeadDimAgrees) {
  for (int32_t dim = 8; dim <= 512; dim += 8) {
    Case c{.num_heads = 3, .num_kv_heads = 1, .head_dim = dim, .head_dim_v = 520 - dim};
    c.dtype = static_cast<pagoda_dtype>(dim / 8 % 3);
    c.requests = {{.query_len = 9, .seq_len = 75}};
    const Result result = run(c, {.isa = GetParam()});
    ASSERT_EQ(compare_with_formula(c, result), "") << text_of(c);
  }
}

TEST_P(Attend, ForcedSplitsAgree) {
  for (int32_t splits : {1, 2, 3, 4, 5, 6, 7, 8, 17}) {
    Case c{.num_heads = 6, .num_kv_heads = 2, .dtype = PAGODA_BF16};
    c.requests = {{.query_len = 3, .seq_len = 900, .id = 1},
                  {.query_len = 1, .seq_len = 5, .id = 2}};
    for (int32_t threads : {1, 3}) {
      const Result result =
          run(c, {.num_threads = threads, .isa = GetParam(), .num_splits = splits});
      ASSERT_EQ(compare_with_formula(c, result), "") << splits << " splits";
    }
  }
}

}  // namespace
}  // namespace pagoda::test

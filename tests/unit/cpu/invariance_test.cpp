// A request's bits follow from its own data and length: not from the batch, the threads, the order
// and size of its pages, the chunks of its prefill or the bytes that nobody may use.
#include <gtest/gtest.h>

#include <algorithm>

#include "cases.h"

namespace pagoda::test {
namespace {

constexpr uint32_t kCases = 60;

// Of each random case, its bits on every instruction set are compared with those of a variant.
template <class Check>
void for_random_cases(const Check& check) {
  for (const std::string& isa : isas_here())
    for (uint32_t seed = 1000; seed < 1000 + kCases; ++seed) {
      const Case c = random_case(seed);
      check(c, RunOptions{.isa = isa});
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(CpuInvariance, Threads) {
  for_random_cases([](const Case& c, RunOptions options) {
    const Result one = run(c, options);
    for (int32_t threads : {2, 3, 7}) {
      options.num_threads = threads;
      ASSERT_EQ(compare_bits(one, run(c, options)), "") << threads << " threads, " << text_of(c);
    }
  });
}

// Long sequences and few rows: the splits are dealt out to the threads.
TEST(CpuInvariance, ThreadsWithSplitsDealtOut) {
  Case c{.num_heads = 3, .num_kv_heads = 1, .dtype = PAGODA_BF16};
  c.requests = {{.seq_len = 5000}, {.query_len = 5, .seq_len = 1200, .id = 1}};
  for (const std::string& isa : isas_here()) {
    const Result one = run(c, {.isa = isa});
    for (int32_t threads : {2, 3, 7})
      for (int repeat = 0; repeat < 5; ++repeat)
        ASSERT_EQ(compare_bits(one, run(c, {.num_threads = threads, .isa = isa})), "") << threads;
  }
}

TEST(CpuInvariance, AloneOrInABatch) {
  for_random_cases([](const Case& c, const RunOptions& options) {
    const Result together = run(c, options);
    for (size_t i = 0; i < c.requests.size(); ++i) {
      Case alone = c;
      alone.requests = {c.requests[i]};
      alone.padding_tokens = 0;
      ASSERT_EQ(compare_bits(rows_of_request(c, together, i), run(alone, options)), "")
          << "request " << i << ", " << text_of(c);
    }
  });
}

TEST(CpuInvariance, OrderAndSizeOfPages) {
  for_random_cases([](const Case& c, RunOptions options) {
    const Result first = run(c, options);
    options.page_seed = 99;
    ASSERT_EQ(compare_bits(first, run(c, options)), "") << text_of(c);
    for (int32_t page_size : {0, 8, 16, 24, 64}) {
      Case other = c;
      other.page_size = page_size;
      ASSERT_EQ(compare_bits(first, run(other, options)), "")
          << "page size " << page_size << ", " << text_of(c);
    }
  });
}

TEST(CpuInvariance, UnusedBytes) {
  for_random_cases([](const Case& c, RunOptions options) {
    const Result first = run(c, options);
    options.poison = 0x3c;
    ASSERT_EQ(compare_bits(first, run(c, options)), "") << text_of(c);
  });
}

// One request prefilled at once, in chunks, and token by token.
void expect_same_in_chunks(Case c, int32_t len, const RunOptions& options) {
  c.padding_tokens = 0;
  c.per_request_causal = false;
  c.causal = true;
  c.requests = {{.query_len = len, .seq_len = len}};
  const Result whole = run(c, options);
  for (int32_t chunk : {1, 7, 64, 100}) {
    if (chunk == 1 && len > 200) continue;
    for (int32_t begin = 0; begin < len; begin += chunk) {
      const int32_t end = std::min(begin + chunk, len);
      Case part = c;
      part.requests = {{.query_len = end - begin, .seq_len = end}};
      ASSERT_EQ(compare_bits(tokens_of(c, whole, begin, end), run(part, options)), "")
          << "chunk " << begin << " to " << end << ", " << text_of(c);
    }
  }
}

TEST(CpuInvariance, ChunksOfAPrefill) {
  for (const std::string& isa : isas_here())
    for (uint32_t seed = 0; seed < 12; ++seed) {
      expect_same_in_chunks(random_case(seed), 30 + static_cast<int32_t>(seed) * 13, {.isa = isa});
      if (HasFatalFailure()) return;
    }
}

TEST(CpuInvariance, ChunksOfALongPrefill) {
  for (const std::string& isa : isas_here()) {
    Case c{.num_heads = 5, .num_kv_heads = 1, .head_dim = 40, .head_dim_v = 24};
    c.dtype = PAGODA_F16;
    expect_same_in_chunks(c, 1100, {.num_threads = 2, .isa = isa});
  }
}

// More keys than are packed at a time, which tiles take from the last to the first: by many rows at
// once and by few, where they lie.
TEST(CpuInvariance, ABiasOverOneLongSplit) {
  constexpr int32_t kKeys = 2300, kRows = 40;
  for (const std::string& isa : isas_here()) {
    if (!isa.starts_with("amx")) continue;
    for (pagoda_alibi alibi : {PAGODA_ALIBI_LINEAR, PAGODA_ALIBI_SQRT}) {
      Case c{.num_heads = 5, .num_kv_heads = 1};
      c.dtype = isa == "amx_fp16" ? PAGODA_F16 : PAGODA_BF16;
      c.alibi = alibi;
      c.requests = {{.query_len = kRows, .seq_len = kKeys}};
      const RunOptions uncut{.isa = isa, .num_splits = 1};
      const Result whole = run(c, uncut);
      ASSERT_EQ(compare_with_formula(c, formula(c), whole, weight_error(c, isa)), "") << isa;
      for (int32_t begin : {0, 20, 35}) {
        const int32_t end = std::min(begin + 20, kRows);
        Case part = c;
        part.requests = {{.query_len = end - begin, .seq_len = kKeys - kRows + end}};
        ASSERT_EQ(compare_bits(tokens_of(c, whole, begin, end), run(part, uncut)), "")
            << isa << ", " << begin;
      }
    }
  }
}

// A value that one row sees and its neighbour does not reaches the first alone.
TEST(CpuInvariance, NanReachesOnlyRowsThatSeeIt) {
  for (const std::string& isa : isas_here())
    for (pagoda_dtype dtype : {PAGODA_F32, PAGODA_F16, PAGODA_BF16})
      for (int32_t bad : {0, 5, 37, 63, 64, 99}) {
        Case c{.num_heads = 6, .num_kv_heads = 2, .head_dim = 24, .head_dim_v = 72};
        c.dtype = dtype;
        c.window_left = 50;
        c.requests = {{.query_len = 120, .seq_len = 120}};
        const Result clean = run(c, {.isa = isa});
        c.bad_token = bad;
        const Result dirty = run(c, {.isa = isa});
        for (int32_t t = 0; t < 120; ++t) {
          const bool sees = bad <= t && t - bad <= 50;
          const std::string difference =
              compare_bits(tokens_of(c, clean, t, t + 1), tokens_of(c, dirty, t, t + 1));
          ASSERT_EQ(difference.empty(), !sees) << isa << ", bad " << bad << ", row " << t;
          const float first = decode(dtype, dirty.out.data(), int64_t{t} * 6 * 72);
          ASSERT_EQ(first != first, sees) << isa << ", bad " << bad << ", row " << t;
        }
      }
}

// Likewise among the few rows of a step that verifies drafts, whole tiles wide and not.
TEST(CpuInvariance, NanReachesOnlyDraftsThatSeeIt) {
  constexpr int32_t kDrafts = 4, kLength = 192;
  for (const std::string& isa : isas_here())
    for (int32_t group : {1, 2, 4, 5, 8})
      for (int32_t dim : {64, 80})
        for (int32_t bad : {kLength - 1, kLength - 2, kLength - kDrafts}) {
          Case c{.num_heads = group, .num_kv_heads = 1, .head_dim = dim, .head_dim_v = dim};
          c.dtype = PAGODA_BF16;
          c.requests = {{.query_len = kDrafts, .seq_len = kLength}};
          const Result clean = run(c, {.isa = isa});
          c.bad_token = bad;
          const Result dirty = run(c, {.isa = isa});
          for (int32_t t = 0; t < kDrafts; ++t) {
            const bool sees = bad <= kLength - kDrafts + t;
            const std::string difference =
                compare_bits(tokens_of(c, clean, t, t + 1), tokens_of(c, dirty, t, t + 1));
            ASSERT_EQ(difference.empty(), !sees)
                << isa << ", group " << group << ", bad " << bad << ", row " << t;
            const float first = decode(c.dtype, dirty.out.data(), int64_t{t} * group * dim);
            ASSERT_EQ(first != first, sees)
                << isa << ", group " << group << ", bad " << bad << ", row " << t;
          }
        }
}

}  // namespace
}  // namespace pagoda::test

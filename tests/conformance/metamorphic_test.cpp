// Relations that need no oracle: a change that must not matter, or must matter in a known way. All
// of them to the bit, on every instruction set of the machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "backends.h"
#include "compare.h"
#include "parts.h"

namespace pagoda::conformance {
namespace {

// A random case in which cuts depend on the length alone, so that parts of it keep their bits.
Case draw(uint64_t seed, bool quantised) {
  Case it{draw_geometry(seed), {}};
  if (!quantised) {
    it.geometry.kv_format = PAGODA_KV_SAME;
    it.geometry.query_format = PAGODA_QUERY_SAME;
    it.geometry.scales_in_rows = false;
  }
  if (it.geometry.num_splits > 1) it.geometry.num_splits = 0;
  it.values = draw_values(it.geometry, seed);
  return it;
}

class Metamorphic : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!Backends::has(GetParam())) GTEST_SKIP() << "this machine has no " << GetParam();
  }

  Result run(const Case& it, uint64_t pages_seed = 1, uint64_t fill_seed = 0) {
    Step step(it.geometry, it.values, {.pages_seed = pages_seed, .fill_seed = fill_seed});
    return step.run(backends_.cpu(GetParam(), it.geometry.num_threads));
  }

  // Draws cases until `count` were taken by `check`, which returns false for those that do not fit.
  void for_cases(int count, const std::function<bool(Case&)>& check, bool quantised = true) {
    int taken = 0;
    for (uint64_t seed = 1'000'000; taken < count; ++seed) {
      ASSERT_LT(seed, 1'000'000u + static_cast<uint64_t>(count) * 200) << "too few cases fit";
      Case it = draw(seed, quantised);
      if (it.geometry.requests.empty() || !check(it)) continue;
      ++taken;
      if (HasFailure()) {
        ADD_FAILURE() << "in case " << seed << ": " << describe(it.geometry);
        return;
      }
    }
  }

  // For checks that change the numbers of a case: not with quantised formats.
  void for_plain_cases(int count, const std::function<bool(Case&)>& check) {
    for_cases(count, check, /*quantised=*/false);
  }

  Backends backends_;
};

TEST_P(Metamorphic, OtherPagesChangeNothing) {
  for_cases(200, [&](Case& it) {
    if (!it.geometry.has_cache()) return false;
    EXPECT_EQ(differing_bits(run(it, 1), run(it, 2)), "");
    return true;
  });
}

TEST_P(Metamorphic, OtherPageSizesChangeNothing) {
  for_cases(200, [&](Case& it) {
    if (!it.geometry.has_cache()) return false;
    unshare(it.geometry);
    Case other = it;
    other.geometry.page_size = it.geometry.page_size == 16 ? 8 : 16;
    EXPECT_EQ(differing_bits(run(it), run(other)), "");
    return true;
  });
}

TEST_P(Metamorphic, OtherLayoutsChangeNothing) {
  for_cases(200, [&](Case& it) {
    if (!it.geometry.has_cache()) return false;
    Case other = it;
    other.geometry.layout = it.geometry.layout == Layout::nhd ? Layout::kv_row : Layout::nhd;
    other.geometry.query = other.geometry.key = other.geometry.out = Arrangement::packed;
    EXPECT_EQ(differing_bits(run(it), run(other)), "");
    return true;
  });
}

TEST_P(Metamorphic, ACacheOrKeysWithTheCallGiveTheSame) {
  for_cases(200, [&](Case& it) {
    if (it.geometry.has_cache()) return false;
    Case other = it;
    other.geometry.page_size = 16;
    other.geometry.layout = Layout::hnd;
    other.geometry.writing = Writing::placed;
    EXPECT_EQ(differing_bits(run(it), run(other)), "");
    return true;
  });
}

TEST_P(Metamorphic, ThreadsChangeNothing) {
  for_cases(100, [&](Case& it) {
    it.geometry.num_threads = 1;
    const Result one = run(it);
    for (int32_t threads : {2, 3, 7}) {
      it.geometry.num_threads = threads;
      EXPECT_EQ(differing_bits(one, run(it)), "");
    }
    return true;
  });
}

TEST_P(Metamorphic, RepeatingChangesNothing) {
  for_cases(20, [&](Case& it) {
    const Result once = run(it);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(differing_bits(once, run(it)), "");
    return true;
  });
}

TEST_P(Metamorphic, ARequestAloneIsTheRequestInItsBatch) {
  for_cases(200, [&](Case& it) {
    const Geometry& g = it.geometry;
    if (g.requests.size() < 2) return false;
    const Result batch = run(it);
    for (size_t r = 0; r < g.requests.size(); ++r) {
      const int32_t count = g.requests[r].query_len;
      const Result alone = run(part_of(it, r, 0, count), 9);
      EXPECT_EQ(differing_bits(alone, rows_of(batch, g, first_token_of(g, r), count)), "");
    }
    return true;
  });
}

TEST_P(Metamorphic, TheOrderOfRequestsChangesNothing) {
  for_cases(200, [&](Case& it) {
    const Geometry& g = it.geometry;
    if (g.requests.size() < 2) return false;
    Case reversed = it;
    Geometry& other = reversed.geometry;
    std::reverse(other.requests.begin(), other.requests.end());
    unshare(other);
    std::reverse(reversed.values.requests.begin(), reversed.values.requests.end());
    reversed.values.query.clear();
    reversed.values.query_scale.clear();
    for (size_t r = g.requests.size(); r-- > 0;) {
      const Case part = part_of(it, r, 0, g.requests[r].query_len);
      reversed.values.query.insert(reversed.values.query.end(), part.values.query.begin(),
                                   part.values.query.end());
      reversed.values.query_scale.insert(reversed.values.query_scale.end(),
                                         part.values.query_scale.begin(),
                                         part.values.query_scale.end());
    }
    const Result a = run(it), b = run(reversed);
    for (size_t r = 0; r < g.requests.size(); ++r) {
      const int32_t count = g.requests[r].query_len;
      const int32_t there = first_token_of(other, g.requests.size() - 1 - r);
      EXPECT_EQ(differing_bits(rows_of(a, g, first_token_of(g, r), count),
                               rows_of(b, other, there, count)),
                "");
    }
    return true;
  });
}

// Under a causal mask a query sees the same keys whether or not later ones are in the sequence.
bool can_be_cut(const Case& it, size_t r) {
  const Request& request = it.geometry.requests[r];
  return request.causal && request.query_len > 1 && request.query_len <= request.seq_len;
}

TEST_P(Metamorphic, APromptInChunksIsThePrompt) {
  for_cases(150, [&](Case& it) {
    const Geometry& g = it.geometry;
    if (!can_be_cut(it, 0)) return false;
    const Result whole = run(it);
    Random random(g.seed);
    for (int32_t first = 0; first < g.requests[0].query_len;) {
      const int32_t count = random.between(1, g.requests[0].query_len - first);
      EXPECT_EQ(differing_bits(run(part_of(it, 0, first, count)), rows_of(whole, g, first, count)),
                "");
      first += count;
    }
    return true;
  });
}

TEST_P(Metamorphic, ARowOfAPromptIsTheDecodeStepAtItsPosition) {
  for_cases(60, [&](Case& it) {
    const Geometry& g = it.geometry;
    if (!can_be_cut(it, 0) || g.requests[0].query_len > 40) return false;
    const Result whole = run(it);
    for (int32_t i = 0; i < g.requests[0].query_len; ++i)
      EXPECT_EQ(differing_bits(run(part_of(it, 0, i, 1)), rows_of(whole, g, i, 1)), "");
    return true;
  });
}

TEST_P(Metamorphic, AWindowAsLongAsTheRequestIsNoWindow) {
  for_cases(150, [&](Case& it) {
    Geometry& g = it.geometry;
    g.window_kind = WindowKind::none;
    g.window_left = g.window_right = -1;
    const Result none = run(it);
    g.window_kind = WindowKind::huge;
    for (int32_t size : {g.longest_seq() + g.longest_query(), INT32_MAX}) {
      g.window_left = g.window_right = size;
      EXPECT_EQ(differing_bits(none, run(it)), "");
    }
    return true;
  });
}

// Doubling is exact in float; f16 results may be subnormal, where it is not.
TEST_P(Metamorphic, ValuesTwiceAsLargeGiveOutputsTwiceAsLarge) {
  for_plain_cases(150, [&](Case& it) {
    if (it.geometry.dtype == PAGODA_F16 || it.geometry.regime == Regime::subnormal ||
        it.geometry.regime == Regime::max_finite)
      return false;
    Result once = run(it);
    for (RequestValues& request : it.values.requests)
      for (float& v : request.value) v *= 2;
    for (float& x : once.out) x *= 2;
    EXPECT_EQ(differing_bits(once, run(it)), "");
    return true;
  });
}

// A whole number of splits in front that the window hides from every query.
TEST_P(Metamorphic, KeysThatNobodySeesChangeNothing) {
  for_plain_cases(100, [&](Case& it) {
    Geometry& g = it.geometry;
    if (g.window_left < 0 || g.window_left > 200 || g.num_splits == 1) return false;
    if (!std::all_of(g.requests.begin(), g.requests.end(),
                     [](const Request& r) { return r.query_len <= r.seq_len; }))
      return false;
    unshare(g);
    Case longer = it;
    constexpr int32_t kHidden = 1024;
    for (size_t r = 0; r < g.requests.size(); ++r) {
      // As many more keys as the window is wide would still be seen by the first query.
      if (g.requests[r].query_len == 0) continue;
      if (g.requests[r].position(0) - g.window_left < 0) return false;
      longer.geometry.requests[r].seq_len += kHidden;
      RequestValues& values = longer.values.requests[r];
      values.key.insert(values.key.begin(),
                        static_cast<size_t>(kHidden * g.num_kv_heads * g.head_dim),
                        rounded(g.dtype, 1e4));
      values.value.insert(values.value.begin(),
                          static_cast<size_t>(kHidden * g.num_kv_heads * g.head_dim_v),
                          rounded(g.dtype, 1e4));
    }
    EXPECT_EQ(differing_bits(run(it), run(longer)), "");
    return true;
  });
}

// Every key beside itself once more: the same outputs, and ln 2 in every lse.
TEST_P(Metamorphic, EveryKeyTwiceAddsLnTwoToTheLse) {
  for_plain_cases(100, [&](Case& it) {
    Geometry& g = it.geometry;
    if (g.regime == Regime::nonfinite || g.sinks || g.lse == LseKind::absent) return false;
    g.spec_causal = false;
    g.causal_kind = CausalKind::full;
    g.window_kind = WindowKind::none;
    g.window_left = g.window_right = -1;
    g.alibi = PAGODA_ALIBI_NONE;
    it.values.alibi_slopes.clear();
    for (Request& request : g.requests) request.causal = false;
    unshare(g);
    Case twice = it;
    for (size_t r = 0; r < g.requests.size(); ++r) {
      twice.geometry.requests[r].seq_len *= 2;
      RequestValues& values = twice.values.requests[r];
      values.key.insert(values.key.end(), values.key.begin(), values.key.end());
      values.value.insert(values.value.end(), values.value.begin(), values.value.end());
    }
    const Expected expected = attend<double>(g, it.values);
    Result result = run(twice);
    for (size_t i = 0; i < result.lse.size(); ++i) result.lse[i] -= 0.693147181f;
    EXPECT_EQ(compare(g, expected, result, Backends::arithmetic(g, GetParam())).complaint, "");
    return true;
  });
}

INSTANTIATE_TEST_SUITE_P(Isas, Metamorphic, ::testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace pagoda::conformance

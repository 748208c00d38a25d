// The same bits with 1, 2, 3 and 7 threads, for a request alone and in its batch, with and without
// cascade, on other pages: random cases on every instruction set of the machine.
//
//   invariance_conformance --cases=N [--first=F]
//
// Half of the cases are those of draw_geometry, with every feature; the others have the heads of
// real models and requests long enough for several splits, which is where threads share work.
#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "backends.h"
#include "compare.h"
#include "parts.h"
#include "program.h"

namespace pagoda::conformance {
namespace {

struct Options {
  uint64_t first = 0, cases = 300;
};
Options options;

constexpr int64_t kMostCost = 12'000'000;

// Decode, drafts and chunks of prompts over long keys.
void draw_long_requests(Geometry& g, Random& random) {
  g.requests.clear();
  const int count = random.between(1, 4);
  for (int i = 0; i < count; ++i) {
    const int32_t seq_len = random.weighted<int32_t>({{random.between(1, 200), 40},
                                                      {random.between(400, 1400), 40},
                                                      {random.between(1400, 4200), 20}});
    const int32_t query_len = random.weighted<int32_t>(
        {{1, 55}, {random.between(2, 8), 25}, {random.between(9, 70), 20}});
    g.requests.push_back(
        {.query_len = std::min(query_len, seq_len),
         .seq_len = seq_len,
         .causal = g.causal_kind == CausalKind::flags ? random.chance(0.7) : g.spec_causal});
  }
  g.queries = Queries::mixed;
  while (g.cost() > kMostCost && g.requests.size() > 1) g.requests.pop_back();
  while (g.cost() > kMostCost && g.longest_query() > 1)
    for (Request& request : g.requests) request.query_len = (request.query_len + 1) / 2;
  if (!g.has_cache()) return;
  for (size_t i = 1; i < g.requests.size(); ++i) {
    if (!random.chance(0.5)) continue;
    const Request& donor = g.requests[0];
    Request& own = g.requests[i];
    const auto settled = [&](const Request& r) { return (r.seq_len - r.query_len) / g.page_size; };
    own.shared_pages = std::min(settled(donor), settled(own));
    own.shares_with = own.shared_pages > 0 ? 0 : -1;
  }
}

Geometry draw(uint64_t seed) {
  Geometry g = draw_geometry(seed + 40'000'000);
  Random random = stream_of(seed, 91);
  if (g.num_splits > 1 && random.chance(0.7)) g.num_splits = 0;
  if (random.chance(0.5)) return g;
  g.num_kv_heads = random.between(1, 2);
  g.group = random.pick({1, 3, 4, 5, 7, 8, 12, 17, 24, 32});
  g.head_dim = random.pick({64, 80, 96, 128, 192, 256});
  g.head_dim_v = random.chance(0.8) ? g.head_dim : random.pick({64, 80, 96, 128, 192, 256});
  g.degenerate_strides = g.degenerate_strides && g.num_kv_heads == 1;
  if (g.window_kind != WindowKind::none && random.chance(0.5)) {
    g.window_kind = WindowKind::left;
    g.window_left = random.between(50, 1200);
  }
  draw_long_requests(g, random);
  return g;
}

class Invariance : public ::testing::Test {
 protected:
  Result run(const Case& it, const char* isa, int32_t threads, uint64_t pages_seed = 1) {
    Step step(it.geometry, it.values, {.pages_seed = pages_seed, .fill_seed = pages_seed % 3});
    return step.run(backends_.cpu(isa, threads));
  }

  void check_whole(const Case& it, const char* isa, const Result& one) {
    for (int32_t threads : {2, 3, 7})
      ASSERT_EQ(differing_bits(one, run(it, isa, threads)), "") << threads << " threads";
    Case other = it;
    other.geometry.cascade = it.geometry.cascade == 0 ? 1 : -it.geometry.cascade;
    ASSERT_EQ(differing_bits(one, run(other, isa, 2, 5)), "") << "cascade, other pages";
    ++compared_;
  }

  // Forced splits follow from the longest request of a batch, so there is no alone with them.
  void check_requests(const Case& it, const char* isa, const Result& batch) {
    const Geometry& g = it.geometry;
    if (g.num_splits > 1 || g.requests.size() < 2) return;
    for (size_t r = 0; r < g.requests.size(); ++r) {
      const int32_t count = g.requests[r].query_len;
      const Result alone = run(part_of(it, r, 0, count), isa, r % 2 == 0 ? 1 : 2, 9);
      ASSERT_EQ(differing_bits(alone, rows_of(batch, g, first_token_of(g, r), count)), "")
          << "request " << r << " alone";
      ++alone_;
    }
  }

  Backends backends_;
  int64_t compared_ = 0, alone_ = 0;
};

TEST_F(Invariance, RandomCases) {
  int64_t with_splits = 0, quantised = 0;
  for (uint64_t i = 0; i < options.cases; ++i) {
    Case it{draw(options.first + i), {}};
    it.values = draw_values(it.geometry, options.first + i);
    with_splits += it.geometry.longest_seq() > 512 && it.geometry.num_splits == 0;
    quantised += it.geometry.kv_format != PAGODA_KV_SAME;
    for (const char* isa : kIsas) {
      if (!Backends::has(isa)) continue;
      SCOPED_TRACE(std::string(isa) + ", case " + std::to_string(options.first + i) + ": " +
                   describe(it.geometry));
      const Result one = run(it, isa, 1);
      ASSERT_EQ(one.complaint, "");
      check_whole(it, isa, one);
      if (!HasFatalFailure()) check_requests(it, isa, one);
      if (HasFatalFailure()) return;
    }
  }
  std::printf("%" PRIu64 " cases, %" PRId64 " with several splits, %" PRId64 " quantised; %" PRId64
              " times on an instruction set, %" PRId64 " requests alone\n",
              options.cases, with_splits, quantised, compared_, alone_);
  const auto cases = static_cast<int64_t>(options.cases);
  EXPECT_GE(with_splits, cases / 8);
  EXPECT_GE(quantised, cases / 4);
}

bool read_option(const char* text) {
  return std::sscanf(text, "--cases=%" SCNu64, &options.cases) == 1 ||
         std::sscanf(text, "--first=%" SCNu64, &options.first) == 1;
}

}  // namespace
}  // namespace pagoda::conformance

int main(int argc, char** argv) {
  using namespace pagoda::conformance;
  return run_tests(argc, argv, "invariance_conformance", read_option);
}

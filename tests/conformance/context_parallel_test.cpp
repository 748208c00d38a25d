// Sequences dealt out to ranks against the oracle, which knows of no ranks: random cases over the
// whole of what a spec can say, by 1 to 8 threads of this process.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "compare.h"
#include "mask_case.h"
#include "rank_world.h"
#include "src/mask/print.h"
#include "tests/unit/mask/random_expr.h"

namespace pagoda::conformance {
namespace {

struct Comms {
  explicit Comms(int32_t num_ranks) : comms(static_cast<size_t>(num_ranks)) {
    check(pagoda_comm_create_local(num_ranks, 20000, comms.data()));
  }
  ~Comms() {
    for (pagoda_comm& comm : comms) pagoda_comm_destroy(&comm);
  }
  Comms(const Comms&) = delete;
  Comms& operator=(const Comms&) = delete;
  std::vector<pagoda_comm> comms;
};

// What a rank does to its step before it runs.
using Change = std::function<void(RankWorld& world, int32_t rank)>;

std::vector<Result> run(const Geometry& g, const Values& values, const Ranks& ranks,
                        const char* backend, uint64_t fill_seed, const Change& change = {}) {
  Comms comms(ranks.num_ranks);
  std::vector<Result> results(static_cast<size_t>(ranks.num_ranks));
  std::vector<std::thread> threads;
  for (int32_t r = 0; r < ranks.num_ranks; ++r)
    threads.emplace_back([&, r] {
      ContextOptions options;
      options.backend = backend;
      options.num_threads = 1;
      if (options.backend == std::string("cpu")) options.isa = g.isa;
      options.comm = &comms.comms[static_cast<size_t>(r)];
      const Context context(options);
      RankWorld world(g, values, ranks, r, fill_seed);
      if (change) change(world, r);
      results[static_cast<size_t>(r)] = world.run(context);
    });
  for (std::thread& thread : threads) thread.join();
  return results;
}

struct Param {
  int32_t num_ranks, interleave;
  bool copies;
};

class ContextParallel : public ::testing::TestWithParam<Param> {};

int num_cases() {
  const char* asked = std::getenv("PAGODA_RANK_CASES");
  return asked != nullptr ? std::atoi(asked) : 25;
}

TEST_P(ContextParallel, EqualsOneRankWithinTheBoundAndRepeats) {
  const Ranks ranks{GetParam().num_ranks, GetParam().interleave, GetParam().copies};
  double worst = 0;
  for (int i = 0; i < num_cases(); ++i) {
    const auto seed = static_cast<uint64_t>(i * 64 + ranks.num_ranks);
    const Geometry g = draw_shared(seed, ranks);
    const Values values = draw_values(g, seed);
    const Expected expected = attend<double>(g, values);
    const Arithmetic arithmetic = arithmetic_of(g, values, ranks);
    for (const char* backend : {"reference", "cpu"}) {
      const std::vector<Result> results = run(g, values, ranks, backend, 0);
      const Result all = join(g, ranks, results);
      const Comparison comparison = compare(g, expected, all, arithmetic);
      ASSERT_EQ(comparison.complaint, "") << backend << ", case " << i << ": " << describe(g);
      worst = std::max({worst, comparison.out_ratio, comparison.lse_ratio});
      const Result again = join(g, ranks, run(g, values, ranks, backend, seed | 1));
      ASSERT_EQ(differing_bits(all, again), "")
          << backend << " with other garbage, case " << i << ": " << describe(g);
      for (size_t r = 1; ranks.copies && r < results.size(); ++r)
        ASSERT_EQ(differing_bits(results[0], results[r]), "") << backend << ", rank " << r;
    }
  }
  RecordProperty("largest_error_over_bound", std::to_string(worst));
}

// Requests that share pages on every rank: cascade counts keys as a rank keeps them, and changes no
// bit there either. Prefixes are of more than one and two splits, since some kernels share no less
// under ALiBi.
TEST_P(ContextParallel, GivesTheSameBitsWithAndWithoutCascade) {
  const Ranks ranks{GetParam().num_ranks, GetParam().interleave, GetParam().copies};
  const int32_t unit = 64 * ranks.num_ranks;  // tokens of which every rank keeps a tile
  for (int i = 0; i < num_cases() / 6; ++i) {
    const auto seed = static_cast<uint64_t>(500 + i * 64 + ranks.num_ranks);
    Geometry g = draw_shared(seed, ranks);
    g.head_dim = g.head_dim_v = 8;
    g.num_kv_heads = 1;
    g.page_size = 64;
    g.num_splits = 0;
    g.window_kind = WindowKind::none;
    g.window_left = g.window_right = -1;
    g.padded_tokens = 0;
    g.requests.clear();
    for (int32_t r = 0; r < 5; ++r) {
      const int32_t shared = r == 0 ? 0 : (r % 2 == 0 ? 17 : 33) * ranks.num_ranks;
      g.requests.push_back({.query_len = 1 + r % 3,
                            .seq_len = 33 * unit + 40 * r + 7,
                            .causal = g.spec_causal,
                            .shares_with = r == 0 ? -1 : 0,
                            .shared_pages = shared});
    }
    const Values values = draw_values(g, seed);
    g.cascade = -1;
    const std::vector<Result> flat = run(g, values, ranks, "cpu", 0);
    g.cascade = 1;
    const std::vector<Result> grouped = run(g, values, ranks, "cpu", 0);
    for (size_t r = 0; r < flat.size(); ++r) {
      EXPECT_EQ(flat[r].info.cascade_groups, 0);
      EXPECT_EQ(grouped[r].info.cascade_levels, 2);
      ASSERT_EQ(differing_bits(flat[r], grouped[r]), "") << "rank " << r << ": " << describe(g);
    }
  }
}

// Each rank builds the mask of its own keys, and rescores by their positions in the sequence.
TEST_P(ContextParallel, TakesMasksAndScoresOfTheCallers) {
  const Ranks ranks{GetParam().num_ranks, GetParam().interleave, GetParam().copies};
  const std::string score_text = "score * 0.75 - float((q - k) % 5) / 4.0 + float(h) / 8.0";
  for (int i = 0; i < num_cases(); ++i) {
    const auto seed = static_cast<uint64_t>(9000 + i * 64 + ranks.num_ranks);
    const Geometry g = draw_shared(seed, ranks);
    const Values values = draw_values(g, seed);
    const MaskNames names(seed);
    mask::RandomExpr random(seed);
    const mask::Expr expr = random.mask(1 + i % 9);
    const std::string text = mask::print(expr, mask::test_symbols());
    const ShownPairs pairs(g, expr, names.bindings());
    const Expected expected = attend<double>(
        g, values,
        [&](size_t r, int32_t head, int32_t q, int32_t j) { return pairs.shows(r, head, q, j); },
        [&](double s, size_t r, int32_t head, int32_t q, int32_t j) {
          const int32_t distance = g.requests[r].position(q) - j;
          return s * 0.75 - ((distance % 5 + 5) % 5) / 4.0 + head / 8.0;
        });
    const BuiltBlockMask score(score_text, PAGODA_EXPR_SCORE, names);
    std::vector<std::unique_ptr<BuiltBlockMask>> masks(static_cast<size_t>(ranks.num_ranks));
    for (auto& own : masks) own = std::make_unique<BuiltBlockMask>(text, PAGODA_EXPR_MASK, names);
    const Change change = [&](RankWorld& world, int32_t rank) {
      Sized<pagoda_mask_options> options;
      options.tile_q = 1 + i % 40;
      options.tile_kv = 32 << i % 4;
      options.num_heads = g.num_heads();
      options.num_kv_heads = g.num_kv_heads;
      options.rank = rank;
      options.num_ranks = ranks.num_ranks;
      options.shard_interleave = ranks.interleave;
      world.spec.has_block_mask = 1;
      world.spec.score_expr = score.expr();
      world.batch.block_mask =
          &masks[static_cast<size_t>(rank)]->build(world.batch, world.limits, options);
    };
    for (const char* backend : {"reference", "cpu"}) {
      const Result all = join(g, ranks, run(g, values, ranks, backend, 0, change));
      const Comparison comparison = compare(g, expected, all, arithmetic_of(g, values, ranks));
      ASSERT_EQ(comparison.complaint, "") << backend << ", case " << i << ": " << text << "\n"
                                          << describe(g);
      const Result again = join(g, ranks, run(g, values, ranks, backend, seed | 1, change));
      ASSERT_EQ(differing_bits(all, again), "") << backend << ", case " << i << ": " << text;
    }
  }
}

std::vector<Param> params() {
  std::vector<Param> all;
  for (const bool copies : {false, true})
    for (const int32_t num_ranks : {1, 2, 4, 8})
      for (const int32_t interleave : {1, 2, 16}) all.push_back({num_ranks, interleave, copies});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Ranks, ContextParallel, ::testing::ValuesIn(params()),
                         [](const auto& info) {
                           return std::string(info.param.copies ? "copies" : "heads") + "_of_" +
                                  std::to_string(info.param.num_ranks) + "_by_" +
                                  std::to_string(info.param.interleave);
                         });

}  // namespace
}  // namespace pagoda::conformance

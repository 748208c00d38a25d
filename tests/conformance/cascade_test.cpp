// Cascade changes speed, never results: random trees of shared prefixes give the same bits with
// every setting, and what the oracle expects. The trees reach past what caches make: prefixes that
// end within pages of a request's own queries, duplicates, requests that are shorter than what the
// others share.
//
//   cascade_conformance --trees=N [--first=F]
#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "backends.h"
#include "compare.h"
#include "program.h"

namespace pagoda::conformance {
namespace {

struct Options {
  uint64_t first = 0, trees = 300;
};
Options options;

// Small heads, so that there can be many long requests.
constexpr int64_t kMostCost = 4'000'000, kMostOracleCost = 400'000;

int32_t draw_len(Random& random) {
  switch (random.weighted<int>({{0, 25}, {1, 45}, {2, 30}})) {
    case 0:
      return random.between(1, 130);
    case 1:
      return random.between(64, 700);
    default:
      return random.between(500, 1700);
  }
}

// Pages that a request may have in common with an earlier one. Where a call writes the step's keys,
// only pages that neither writes.
int32_t most_shared(const Geometry& g, const Request& donor, const Request& own) {
  if (g.writing != Writing::placed)
    return std::max(0, std::min(donor.position(0), own.position(0))) / g.page_size;
  return own.seq_len <= donor.seq_len ? g.pages_of(own) : donor.seq_len / g.page_size;
}

void draw_tree(Geometry& g, Random& random) {
  g.requests.clear();
  const int count = random.weighted<int>({{2, 20}, {4, 30}, {8, 30}, {20, 20}});
  const bool full = random.chance(0.5);  // children share all they can
  for (int i = 0; i < count; ++i) {
    Request own{.query_len = random.weighted<int32_t>(
                    {{1, 70}, {0, 4}, {random.between(2, 4), 16}, {random.between(5, 90), 10}}),
                .seq_len = random.chance(0.04) ? 0 : draw_len(random),
                .causal = g.causal_kind == CausalKind::flags ? random.chance(0.7) : g.spec_causal};
    if (i > 0 && random.chance(0.9)) {
      const int32_t parent = random.between(random.chance(0.5) ? 0 : (i - 1) / 2, i - 1);
      const Request& donor = g.requests[static_cast<size_t>(parent)];
      if (random.chance(0.1)) own.seq_len = donor.seq_len;
      const int32_t most = most_shared(g, donor, own);
      if (most > 0) {
        own.shares_with = parent;
        own.shared_pages = full || random.chance(0.4) ? most : random.between(1, most);
      }
    }
    g.requests.push_back(own);
  }
  g.queries = Queries::mixed;
  while (g.cost() > kMostCost && g.longest_query() > 1)
    for (Request& request : g.requests) request.query_len = (request.query_len + 1) / 2;
}

Geometry draw(uint64_t seed) {
  Geometry g = draw_geometry(seed);
  Random random = stream_of(seed, 77);
  if (!g.has_cache()) {
    g.page_size = random.pick({8, 16, 24, 64});
    g.layout = Layout::nhd;
    g.tail = Tail::random;
    g.writing = Writing::placed;
  }
  if (random.chance(0.4)) g.writing = Writing::placed;
  g.head_dim = 8 * random.between(1, 3);
  g.head_dim_v = 8 * random.between(1, 3);
  g.num_kv_heads = random.between(1, 2);
  g.group = random.pick({1, 2, 3, 4, 7, 8});
  g.degenerate_strides = g.degenerate_strides && g.num_kv_heads == 1;
  if (g.window_kind != WindowKind::none && random.chance(0.5)) {
    g.window_kind = WindowKind::left;
    g.window_left = random.between(50, 900);
  }
  if (random.chance(0.5)) g.num_splits = 0;
  draw_tree(g, random);
  return g;
}

struct Counts {
  int64_t grouped = 0, with_levels = 0, deep = 0, priced = 0, quantised = 0, checked = 0, saved = 0,
          flat = 0;

  void add(const pagoda_step_info& forced, const pagoda_step_info& automatic) {
    grouped += forced.cascade_groups > 0;
    with_levels += forced.cascade_levels > 1;
    deep += forced.cascade_levels > 3;
    priced += automatic.cascade_groups > 0;
    saved += forced.key_bytes_flat - forced.key_bytes;
    flat += forced.key_bytes_flat;
  }
};

class Trees : public ::testing::Test {
 protected:
  Result run(Geometry g, const Values& values, int32_t cascade, uint64_t pages_seed = 1) {
    g.cascade = cascade;
    Step step(g, values, {.pages_seed = pages_seed, .fill_seed = g.seed % 3});
    return step.run(backends_.cpu(g.isa, g.num_threads));
  }

  void check(uint64_t seed, Counts& counts) {
    const Geometry g = draw(seed);
    const Values values = draw_values(g, seed);
    const Result never = run(g, values, -1);
    const Result always = run(g, values, 1), automatic = run(g, values, 0);
    ASSERT_EQ(differing_bits(never, always), "") << "tree " << seed << ": " << describe(g);
    ASSERT_EQ(differing_bits(never, automatic), "") << "tree " << seed << ": " << describe(g);
    EXPECT_EQ(never.info.cascade_groups, 0);
    EXPECT_EQ(never.info.key_bytes, never.info.key_bytes_flat);
    counts.add(always.info, automatic.info);
    counts.quantised += always.info.cascade_groups > 0 && g.kv_format != PAGODA_KV_SAME;
    if (g.cost() > kMostOracleCost) return;
    const Comparison comparison =
        compare(g, attend<double>(g, values), always, Backends::arithmetic(g, g.isa));
    ASSERT_EQ(comparison.complaint, "") << "tree " << seed << ": " << describe(g);
    ++counts.checked;
  }

  Backends backends_;
};

// The requests of a step that has been laid out, some of them, in any order, on the pages that they
// have there.
struct Selected {
  std::vector<int32_t> query_start_loc{0}, seq_lens, page_table, tokens;
  std::vector<uint8_t> causal;
  Batch batch;

  Selected(const Step& step, const std::vector<int32_t>& reqs) : batch(step.batch) {
    const Geometry& g = step.geometry();
    const int64_t stride = step.batch.page_table_stride;
    for (const int32_t r : reqs) {
      const auto at = static_cast<size_t>(r);
      const int32_t first = step.batch.query_start_loc[r];
      for (int32_t t = 0; t < g.requests[at].query_len; ++t) tokens.push_back(first + t);
      query_start_loc.push_back(static_cast<int32_t>(tokens.size()));
      seq_lens.push_back(step.batch.seq_lens[r]);
      causal.push_back(g.requests[at].causal ? 1 : 0);
      const int32_t* row = step.batch.page_table + r * stride;
      page_table.insert(page_table.end(), row, row + stride);
    }
    batch.num_reqs = static_cast<int32_t>(reqs.size());
    batch.num_tokens = static_cast<int32_t>(tokens.size());
    batch.query_start_loc = query_start_loc.data();
    batch.seq_lens = seq_lens.data();
    batch.page_table = page_table.data();
    batch.slot_mapping = nullptr;
    if (step.batch.causal != nullptr) batch.causal = causal.data();
  }

  // The elements of each token's output, in bits.
  std::vector<std::vector<std::byte>> run(const Step& step, const Context& context) const {
    const Geometry& g = step.geometry();
    const size_t size = size_of(g.dtype), count = tokens.size();
    const size_t query_row = size * static_cast<size_t>(g.num_heads() * g.head_dim);
    const size_t out_row = size * static_cast<size_t>(g.num_heads() * g.head_dim_v);
    std::vector<std::byte> query(count * query_row), out(count * out_row);
    for (size_t t = 0; t < count; ++t)
      for (int32_t head = 0; head < g.num_heads(); ++head)
        std::memcpy(&query[t * query_row + size * static_cast<size_t>(head * g.head_dim)],
                    address(step.query, tokens[t], head), size * static_cast<size_t>(g.head_dim));
    Tuning tuning;
    tuning.num_splits = g.num_splits;
    tuning.cascade = 1;
    Plan plan(context, step.spec, step.limits, tuning);
    Buffer workspace(plan.workspace_size(), 0, 0);
    plan.prepare(batch, workspace.data(), plan.workspace_size());
    const Tensor from(query.data(), g.dtype, {batch.num_tokens, g.num_heads(), g.head_dim});
    const Tensor to(out.data(), g.dtype, {batch.num_tokens, g.num_heads(), g.head_dim_v});
    plan.forward(step.layer, from, to);
    std::vector<std::vector<std::byte>> rows;
    for (size_t t = 0; t < count; ++t)
      rows.emplace_back(out.begin() + static_cast<ptrdiff_t>(t * out_row),
                        out.begin() + static_cast<ptrdiff_t>((t + 1) * out_row));
    return rows;
  }
};

// Requests in another order, and each alone, on the same pages.
TEST_F(Trees, GiveTheSameBitsInAnyOrderAndToEachRequestAlone) {
  const uint64_t trees = std::min<uint64_t>(options.trees / 4, 200);
  for (uint64_t seed = options.first; seed < options.first + trees; ++seed) {
    Geometry g = draw(seed);
    g.writing = Writing::placed;
    g.query_format = PAGODA_QUERY_SAME;  // whose rows are copied here
    const Values values = draw_values(g, seed);
    const Step step(g, values, {.pages_seed = 1, .fill_seed = seed % 3});
    std::vector<int32_t> reqs(g.requests.size());
    std::iota(reqs.begin(), reqs.end(), 0);
    const Context& context = backends_.cpu(g.isa, g.num_threads);
    const auto rows = Selected(step, reqs).run(step, context);
    Random random = stream_of(seed, 78);
    random.shuffle(reqs);
    const Selected shuffled(step, reqs);
    const auto others = shuffled.run(step, context);
    for (size_t t = 0; t < others.size(); ++t)
      ASSERT_EQ(others[t], rows[static_cast<size_t>(shuffled.tokens[t])])
          << "tree " << seed << " in another order: " << describe(g);
    const Selected alone(step, {reqs[0]});
    const auto own = alone.run(step, context);
    for (size_t t = 0; t < own.size(); ++t)
      ASSERT_EQ(own[t], rows[static_cast<size_t>(alone.tokens[t])])
          << "tree " << seed << ", request " << reqs[0] << " alone: " << describe(g);
  }
}

TEST_F(Trees, GiveTheSameBitsWithAndWithoutCascade) {
  Counts counts;
  for (uint64_t i = 0; i < options.trees && !HasFatalFailure(); ++i)
    check(options.first + i, counts);
  std::printf("%" PRIu64 " trees: %" PRId64 " with groups, %" PRId64 " on several levels, %" PRId64
              " on four or more; %" PRId64 " grouped by price, %" PRId64
              " grouped on quantised caches; %" PRId64
              " against the oracle; %.0f %% of key bytes saved\n",
              options.trees, counts.grouped, counts.with_levels, counts.deep, counts.priced,
              counts.quantised, counts.checked,
              100.0 * static_cast<double>(counts.saved) / static_cast<double>(counts.flat));
  const auto trees = static_cast<int64_t>(options.trees);
  EXPECT_GE(counts.grouped, trees / 2);
  EXPECT_GE(counts.with_levels, trees / 5);
  EXPECT_GE(counts.quantised, trees / 20);
  EXPECT_GE(counts.checked, trees / 5);
}

bool read_option(const char* text) {
  return std::sscanf(text, "--trees=%" SCNu64, &options.trees) == 1 ||
         std::sscanf(text, "--first=%" SCNu64, &options.first) == 1;
}

}  // namespace
}  // namespace pagoda::conformance

int main(int argc, char** argv) {
  using namespace pagoda::conformance;
  return run_tests(argc, argv, "cascade_conformance", read_option);
}

// The log-sum-exp over the grid in which a known defect of another library hid: packed query groups
// times forced splits wrote it in the wrong order while outputs stayed right.
#include <gtest/gtest.h>

#include "backends.h"
#include "compare.h"

namespace pagoda::conformance {
namespace {

Geometry grid_geometry(int32_t group, int32_t num_splits, Queries queries, bool empty_rows) {
  Geometry g;
  g.seed = static_cast<uint64_t>(group * 1000 + num_splits * 10 + static_cast<int>(queries));
  g.dtype = PAGODA_F32;
  g.num_kv_heads = 2;
  g.group = group;
  g.head_dim = g.head_dim_v = 8;
  g.page_size = 16;
  g.layout = Layout::nhd;
  g.writing = Writing::placed;
  g.tail = Tail::int_max;
  g.num_splits = num_splits;
  g.queries = queries;
  const int32_t lens[] = {17 * 64 + 3, 5, 700};
  for (int i = 0; i < 3; ++i) {
    const int32_t query_len = queries == Queries::decode    ? 1
                              : queries == Queries::uniform ? 3
                                                            : 1 + 2 * i;
    g.requests.push_back({.query_len = query_len, .seq_len = lens[i]});
    if (empty_rows)
      g.requests.push_back({.query_len = query_len, .seq_len = i == 0 ? 0 : query_len / 2});
  }
  return g;
}

class LseGrid : public ::testing::TestWithParam<int> {};

TEST_P(LseGrid, IsRightForEverySplitKindOfQueryAndEmptyRow) {
  Backends backends;
  double worst = 0;
  for (int32_t num_splits : {1, 2, 3, 4, 5, 6, 7, 8, 17})
    for (Queries queries : {Queries::decode, Queries::uniform, Queries::mixed})
      for (bool empty_rows : {false, true})
        for (LseKind lse : {LseKind::packed, LseKind::transposed}) {
          Geometry geometry = grid_geometry(GetParam(), num_splits, queries, empty_rows);
          geometry.lse = lse;
          const Values values = draw_values(geometry, geometry.seed);
          const Expected expected = attend<double>(geometry, values);
          const auto check = [&](const Context& context, const char* kernel,
                                 const Arithmetic& arithmetic) {
            Step step(geometry, values, {});
            const Comparison comparison =
                compare(geometry, expected, step.run(context, kernel), arithmetic);
            EXPECT_EQ(comparison.complaint, "") << describe(geometry);
            return comparison.lse_ratio;
          };
          check(backends.reference(), "reference.online", kDouble);
          for (const char* isa : kIsas)
            for (int32_t threads : {1, 3})
              worst = std::max(worst, check(backends.cpu(isa, threads), nullptr,
                                            Backends::arithmetic(geometry, isa)));
        }
  RecordProperty("largest_lse_error_over_bound", std::to_string(worst));
}

INSTANTIATE_TEST_SUITE_P(Groups, LseGrid, ::testing::Values(1, 3, 4, 7, 8, 12),
                         [](const auto& info) { return "group_" + std::to_string(info.param); });

}  // namespace
}  // namespace pagoda::conformance

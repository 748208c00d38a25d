// The named masks of masks.hpp: each against its definition written out in C++, through attention
// on the CPU backend and both forms of the reference; the ones that are built in bit for bit
// against those; and the worked examples that other implementations document.
#include <gtest/gtest.h>

#include <functional>
#include <pagoda/masks.hpp>

#include "backends.h"
#include "compare.h"
#include "oracle.h"
#include "step.h"

namespace pagoda::conformance {
namespace {

struct At {
  int64_t r, h, q, k, seq_len, query_len;
};
using Definition = std::function<bool(const At&)>;

// Prefill, a chunk behind a context, decode, drafts; lengths off every boundary.
Geometry mask_geometry(pagoda_kv_format format = PAGODA_KV_SAME) {
  Geometry g;
  g.seed = 12;
  g.num_kv_heads = 2;
  g.group = 2;
  g.head_dim = g.head_dim_v = 16;
  g.page_size = 16;
  g.layout = Layout::nhd;
  g.writing = Writing::placed;
  g.tail = Tail::int_max;
  g.spec_causal = false;
  g.causal_kind = CausalKind::full;
  g.kv_format = format;
  for (const auto& [query_len, seq_len] :
       {std::pair{150, 150}, {61, 290}, {1, 700}, {7, 131}, {1, 1}, {0, 40}})
    g.requests.push_back({.query_len = query_len, .seq_len = seq_len, .causal = false});
  return g;
}

constexpr int32_t kLongest = 700;

// Tables of the masks below.
struct Tables {
  std::vector<int32_t> doc, branch, prefix{40, 100, 300, 125, 1, 3}, sizes{9, 30, 100, 1000};
  std::vector<int32_t> start{10, 100, 0, 0, 50, 280, 0, 600, 100, 40, 0, 0};
  std::vector<int32_t> end{30, 140, 0, 0, 90, 260, 0, 699, 129, 60, 0, 0};
  std::vector<int32_t> tree;
  Tables() {
    for (int32_t r = 0; r < 6; ++r)
      for (int32_t k = 0; k < kLongest; ++k) {
        doc.push_back(k / (37 + r));
        branch.push_back(k < 50 ? 0 : k / 29);
      }
    const auto one = masks::tree_table({{0}, {1}, {0, 0}, {0, 1}, {1, 0}, {0, 0, 0}});
    for (int32_t r = 0; r < 6; ++r) tree.insert(tree.end(), one.begin(), one.end());
  }
};

Expression make(const expr::Bool& mask, const Tables& t) {
  const std::vector<pagoda_name> names = {
      {"doc", PAGODA_NAME_INT, 2},    {"branch", PAGODA_NAME_INT, 2}, {"sizes", PAGODA_NAME_INT, 1},
      {"prefix", PAGODA_NAME_INT, 1}, {"start", PAGODA_NAME_INT, 2},  {"end", PAGODA_NAME_INT, 2},
      {"tree", PAGODA_NAME_INT, 3}};
  Expression it = Expression::mask(mask.text(), names);
  it.set_table("doc", t.doc.data(), {6, kLongest}, -1);
  it.set_table("branch", t.branch.data(), {6, kLongest}, -1);
  it.set_table("sizes", t.sizes.data(), {4});
  it.set_table("prefix", t.prefix.data(), {6});
  it.set_table("start", t.start.data(), {6, 2});
  it.set_table("end", t.end.data(), {6, 2});
  it.set_table("tree", t.tree.data(), {6, 7, 7});
  return it;
}

MaskOptions options_of(const Step& step, int32_t tile_q, int32_t tile_kv) {
  MaskOptions options;
  options.tile_q = tile_q;
  options.tile_kv = tile_kv;
  options.num_heads = step.spec.num_heads;
  options.num_kv_heads = step.spec.num_kv_heads;
  options.max_reqs = step.limits.max_reqs;
  options.max_tokens = step.limits.max_tokens;
  options.max_seq_len = step.limits.max_seq_len;
  return options;
}

Result run(const Geometry& g, const Values& values, const Expression& mask, const Context& context,
           int32_t tile_q = 64, int32_t tile_kv = 64, const char* kernel = nullptr) {
  Step step(g, values, {});
  step.spec.has_block_mask = 1;
  MaskBuilder builder(mask, options_of(step, tile_q, tile_kv));
  step.batch.block_mask = &builder.build(step.batch);
  return step.run(context, kernel);
}

void expect_meaning(const char* name, const expr::Bool& mask, const Definition& means) {
  const Tables tables;
  const Expression expression = make(mask, tables);
  Backends backends;
  for (const pagoda_kv_format format : {PAGODA_KV_SAME, PAGODA_KV_INT8_TOKEN}) {
    const Geometry g = mask_geometry(format);
    const Values values = draw_values(g, 3);
    int64_t visible = 0, pairs = 0;
    const Expected expected =
        attend<double>(g, values, [&](size_t r, int32_t head, int32_t i, int32_t j) {
          const Request& request = g.requests[r];
          const bool shown = means({static_cast<int64_t>(r), head, request.position(i), j,
                                    request.seq_len, request.query_len});
          visible += shown;
          ++pairs;
          return shown;
        });
    EXPECT_GT(visible, 0) << name;
    EXPECT_LT(visible, pairs) << name;
    for (const char* isa : kIsas) {
      const Result result = run(g, values, expression, backends.cpu(isa, 2));
      EXPECT_EQ(compare(g, expected, result, Backends::arithmetic(g, isa)).complaint, "")
          << name << " on " << isa;
    }
    for (const char* kernel : {"reference.direct", "reference.online"}) {
      const Result result = run(g, values, expression, backends.reference(), 100, 128, kernel);
      EXPECT_EQ(compare(g, expected, result, kDouble).complaint, "") << name << ": " << kernel;
    }
  }
}

using masks::IntTable;
const IntTable kDoc("doc"), kBranch("branch"), kSizes("sizes"), kPrefix("prefix"), kStart("start"),
    kEnd("end"), kTree("tree");

TEST(NamedMasks, Causal) {
  expect_meaning("causal", masks::causal(), [](const At& at) { return at.k <= at.q; });
}
TEST(NamedMasks, Window) {
  expect_meaning("window", masks::window(77),
                 [](const At& at) { return at.k <= at.q && at.k > at.q - 77; });
}
TEST(NamedMasks, SymmetricWindow) {
  expect_meaning("symmetric window", masks::symmetric_window(20),
                 [](const At& at) { return at.k > at.q - 20 && at.k < at.q + 20; });
}
TEST(NamedMasks, HeadWindows) {
  expect_meaning("head windows", masks::head_windows(kSizes), [](const At& at) {
    const int64_t sizes[] = {9, 30, 100, 1000};
    return at.k <= at.q && at.q - at.k < sizes[at.h];
  });
}
TEST(NamedMasks, ChunkedLocal) {
  expect_meaning("chunk", masks::chunked_local(48),
                 [](const At& at) { return at.k <= at.q && at.k / 48 == at.q / 48; });
  expect_meaning("chunk and the one before", masks::chunked_local(48, 1),
                 [](const At& at) { return at.k <= at.q && at.k / 48 + 1 >= at.q / 48; });
}
TEST(NamedMasks, PrefixLm) {
  const Tables t;
  expect_meaning("prefix-LM", masks::prefix_lm(kPrefix), [&](const At& at) {
    return at.k <= at.q || at.k < t.prefix[static_cast<size_t>(at.r)];
  });
}
TEST(NamedMasks, PrefixRanges) {
  const Tables t;
  const auto same = [&](const At& at) {
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t start = t.start[static_cast<size_t>(at.r * 2 + i)];
      const int64_t end = t.end[static_cast<size_t>(at.r * 2 + i)];
      if (start < end && at.q >= start && at.q <= end && at.k >= start && at.k <= end) return true;
    }
    return false;
  };
  expect_meaning("ranges", masks::causal() || masks::same_range(kStart, kEnd, 2),
                 [&](const At& at) { return at.k <= at.q || same(at); });
  expect_meaning("ranges behind a window", masks::window(16) || masks::same_range(kStart, kEnd, 2),
                 [&](const At& at) { return (at.k <= at.q && at.q - at.k < 16) || same(at); });
}
TEST(NamedMasks, Documents) {
  const Tables t;
  const auto doc = [&](const At& at, int64_t p) {
    return t.doc[static_cast<size_t>(at.r * kLongest + p)];
  };
  expect_meaning("documents", masks::documents(kDoc),
                 [&](const At& at) { return at.k <= at.q && doc(at, at.q) == doc(at, at.k); });
}
TEST(NamedMasks, SharedPrefix) {
  const Tables t;
  const auto branch = [&](const At& at, int64_t p) {
    return t.branch[static_cast<size_t>(at.r * kLongest + p)];
  };
  expect_meaning("shared prefix", masks::shared_prefix(50, kBranch), [&](const At& at) {
    return at.k <= at.q && (at.k < 50 || branch(at, at.q) == branch(at, at.k));
  });
}
TEST(NamedMasks, Dilated) {
  expect_meaning("dilated", masks::dilated(20, 3), [](const At& at) {
    return at.k <= at.q && at.q - at.k < 60 && (at.q - at.k) % 3 == 0;
  });
}
TEST(NamedMasks, GlobalLocal) {
  expect_meaning("global and local", masks::global_local(5, 33),
                 [](const At& at) { return at.k <= at.q && (at.k < 5 || at.q - at.k < 33); });
}
TEST(NamedMasks, StaticSinks) {
  expect_meaning("static sinks", masks::static_sinks(16, masks::window(40)),
                 [](const At& at) { return at.k < 16 || (at.k <= at.q && at.q - at.k < 40); });
}
TEST(NamedMasks, Neighbourhood) {
  expect_meaning("neighbourhood", masks::neighbourhood(24, 2), [](const At& at) {
    const auto near = [](int64_t a, int64_t b) { return a - b <= 2 && b - a <= 2; };
    return near(at.q / 24, at.k / 24) && near(at.q % 24, at.k % 24);
  });
}

// Seven nodes: the root, its children 1 and 2, 3 and 4 below 1, 5 below 2, 6 below 3.
TEST(NamedMasks, Tree) {
  constexpr int64_t kParent[] = {-1, 0, 0, 1, 1, 2, 3};
  expect_meaning("tree", masks::tree(kTree), [&](const At& at) {
    const int64_t context = at.seq_len - at.query_len, node = at.q - context;
    if (at.k < context) return true;
    for (int64_t up = node < 7 ? node : -1; up >= 0; up = kParent[up])
      if (up == at.k - context) return true;
    return false;
  });
}

// The bias of a tree whose choices are (0), (0, 0), (1): row by row the root, the node itself and
// its ancestors.
TEST(NamedMasks, TreeTableOfPaths) {
  EXPECT_EQ(masks::tree_table({{0, 0}, {1}, {0}}), (std::vector<int32_t>{1, 0, 0, 0,  //
                                                                         1, 1, 0, 0,  //
                                                                         1, 0, 1, 0,  //
                                                                         1, 1, 0, 1}));
  EXPECT_EQ(masks::tree_table({}), std::vector<int32_t>{1});
}

// The virtual batches of chunked local attention, read off the mask: chunks of 4, requests of 4, 10
// and 5 queries over 6, 17 and 9 keys.
TEST(NamedMasks, ChunkedLocalSplitsRequestsAsDocumented) {
  const Expression mask = Expression::mask(masks::chunked_local(4).text());
  const auto sees = [&](int64_t q, int64_t k) {
    Sized<pagoda_place> place;
    place.query = q;
    place.key = k;
    float value = 0;
    check(pagoda_expr_evaluate(mask.get(), &place, &value));
    return value != 0;
  };
  std::vector<int64_t> query_lens, key_lens;
  for (const auto& [query_len, seq_len] : {std::pair{4, 6}, {10, 17}, {5, 9}}) {
    int64_t first_seen = -1;
    for (int64_t q = seq_len - query_len; q < seq_len; ++q) {
      int64_t first = q;
      while (first > 0 && sees(q, first - 1)) --first;
      if (first != first_seen) {
        first_seen = first;
        query_lens.push_back(0);
        key_lens.push_back(0);
      }
      ++query_lens.back();
      key_lens.back() = q - first + 1;
    }
  }
  EXPECT_EQ(query_lens, (std::vector<int64_t>{2, 2, 1, 4, 4, 1, 4, 1}));
  EXPECT_EQ(key_lens, (std::vector<int64_t>{4, 2, 4, 4, 4, 1, 4, 1}));
}

// The same keys seen, the same order of operations: the same bits, with every shape of tile.
class BuiltIn : public ::testing::TestWithParam<const char*> {
 protected:
  void expect_same_bits(const expr::Bool& mask, const std::function<void(Geometry&)>& build_in) {
    if (!Backends::has(GetParam())) GTEST_SKIP() << "this machine has no " << GetParam();
    const Expression expression = Expression::mask(mask.text());
    const Geometry masked = mask_geometry();
    Geometry built_in = masked;
    build_in(built_in);
    const Values values = draw_values(masked, 7);
    for (const int32_t threads : {1, 3}) {
      const Context& context = backends.cpu(GetParam(), threads);
      const Result wanted = Step(built_in, values, {}).run(context);
      for (const int32_t tile_kv : {32, 64, 128, 256})
        for (const int32_t tile_q : {1, 48, 128})
          EXPECT_EQ(
              differing_bits(wanted, run(masked, values, expression, context, tile_q, tile_kv)), "")
              << mask.text() << " in tiles of " << tile_q << " x " << tile_kv;
    }
  }
  Backends backends;
};

TEST_P(BuiltIn, Causal) {
  expect_same_bits(masks::causal(), [](Geometry& g) {
    g.spec_causal = true;
    g.causal_kind = CausalKind::causal;
    for (Request& request : g.requests) request.causal = true;
  });
}
TEST_P(BuiltIn, Window) {
  expect_same_bits(masks::window(100), [](Geometry& g) {
    g.spec_causal = true;
    g.causal_kind = CausalKind::causal;
    g.window_kind = WindowKind::left;
    g.window_left = 99;
    for (Request& request : g.requests) request.causal = true;
  });
}
TEST_P(BuiltIn, SymmetricWindow) {
  expect_same_bits(masks::symmetric_window(71), [](Geometry& g) {
    g.window_kind = WindowKind::both;
    g.window_left = g.window_right = 70;
  });
}

INSTANTIATE_TEST_SUITE_P(Isas, BuiltIn, ::testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace pagoda::conformance

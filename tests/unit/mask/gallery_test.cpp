// The gallery's expressions against masks written by hand in C++, and against core/mask.h where the
// library has the mask built in. Also how much of each the analysis decides.
#include "src/mask/gallery.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "built_mask.h"
#include "src/core/mask.h"
#include "src/mask/parse.h"

namespace pagoda::mask {
namespace {

constexpr int32_t kLen = 600, kHeads = 4;

struct At {
  int64_t r, h, q, k, seq_len, query_len;
};
using Sees = std::function<bool(const At&)>;

// Bound anew so that every boundary lies inside kLen tokens.
void shrink(Bindings& bindings) {
  for (const auto& [name, value] : std::map<std::string, int64_t>{{"window", 77},
                                                                  {"chunk", 96},
                                                                  {"stride", 50},
                                                                  {"globals", 9},
                                                                  {"width", 24},
                                                                  {"radius", 3}})
    bindings.set(name, value);
}

int64_t element(const Bindings& bindings, const char* table, int64_t i, int64_t j = 0) {
  const int index = bindings.symbols().find_table(table);
  const int64_t indices[kMaxArgs] = {i, j, 0};
  return bindings.table(index).lookup(bindings.table_symbol(index), indices).i;
}

bool built_in(const Mask& mask, const At& at) {
  const KeyRange range =
      visible_keys(mask, static_cast<int32_t>(at.q), static_cast<int32_t>(at.seq_len));
  return at.k >= range.begin && at.k < range.end;
}

std::map<std::string, Sees> by_hand(const Bindings& data) {
  const auto floor_div = [](int64_t a, int64_t b) {
    return static_cast<int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(b)));
  };
  return {
      {"causal", [](const At& at) { return built_in({.causal = true}, at); }},
      {"window", [](const At& at) { return built_in({.causal = true, .window_left = 76}, at); }},
      {"symmetric-window",
       [](const At& at) {
         return built_in({.causal = false, .window_left = 77, .window_right = 77}, at);
       }},
      {"chunk",
       [=](const At& at) { return at.k <= at.q && floor_div(at.q, 96) == floor_div(at.k, 96); }},
      {"chunk-lookback",
       [=](const At& at) {
         return at.k <= at.q && floor_div(at.q, 96) <= floor_div(at.k, 96) + 1;
       }},
      {"prefix-lm",
       [&](const At& at) { return at.k <= at.q || at.k < element(data, "prefix", at.r); }},
      {"document",
       [&](const At& at) {
         return at.k <= at.q &&
                element(data, "doc", at.r, at.q) == element(data, "doc", at.r, at.k);
       }},
      {"tree",
       [](const At& at) {
         const int64_t context = at.seq_len - at.query_len;
         if (at.k < context) return true;
         if (at.q - context >= kTreeNodes) return false;
         for (int64_t node = at.q - context; node >= 0; node = node == 0 ? -1 : (node - 1) / 2)
           if (node == at.k - context) return true;
         return false;
       }},
      {"dilated",
       [](const At& at) { return at.k <= at.q && at.q - at.k < 77 * 4 && (at.q - at.k) % 4 == 0; }},
      {"global-local", [](const At& at) { return at.k <= at.q && (at.k < 9 || at.q - at.k < 77); }},
      {"neighbourhood",
       [=](const At& at) {
         const int64_t rows = floor_div(at.q, 24) - floor_div(at.k, 24);
         const int64_t columns = (at.q - floor_div(at.q, 24) * 24) - at.k % 24;
         return rows * rows <= 9 && columns * columns <= 9;
       }},
      {"shared-prefix",
       [&](const At& at) {
         return at.k <= at.q && (at.k < kLen / 4 || element(data, "branch", at.r, at.q) ==
                                                        element(data, "branch", at.r, at.k));
       }},
      {"head-windows",
       [](const At& at) {
         return built_in({.causal = true, .window_left = (256 << at.h) - 1}, at);
       }},
      {"image-spans",
       [&](const At& at) {
         const int64_t image = element(data, "image", at.r, at.q);
         return at.k <= at.q || (image > 0 && image == element(data, "image", at.r, at.k));
       }},
      {"strided",
       [=](const At& at) {
         return at.k <= at.q && (floor_div(at.q, 50) == floor_div(at.k, 50) || at.k % 50 >= 42);
       }},
  };
}

TEST(Gallery, MeansWhatIsWrittenByHand) {
  GalleryData data(2, kLen, kHeads);
  shrink(data.bindings());
  const auto sees = by_hand(data.bindings());
  ASSERT_EQ(sees.size(), gallery().size());
  for (const GalleryMask& mask : gallery()) {
    const Expr expr = parse_mask(mask.text, gallery_symbols());
    const Sees& wanted = sees.at(mask.name);
    std::vector<Value> scratch(expr.nodes.size());
    int64_t visible = 0;
    for (const int64_t query_len : {int64_t{kLen}, int64_t{37}})
      for (int64_t r = 0; r < 2; ++r)
        for (int64_t h = 0; h < kHeads; ++h)
          for (int64_t q = kLen - query_len; q < kLen; q += h == 0 ? 1 : 13)
            for (int64_t k = 0; k < kLen; ++k) {
              Point point;
              point[Variable::request] = r;
              point[Variable::head] = h;
              point[Variable::query] = q;
              point[Variable::key] = k;
              point[Variable::seq_len] = kLen;
              point[Variable::query_len] = query_len;
              const bool is = evaluate(expr, data.bindings(), point, scratch.data()).i != 0;
              visible += is;
              ASSERT_EQ(is, wanted({r, h, q, k, kLen, query_len}))
                  << mask.name << " at r " << r << " h " << h << " q " << q << " k " << k;
            }
    EXPECT_GT(visible, 0) << mask.name;
  }
}

// Queries before the first key, which a causal mask shows nothing.
TEST(Gallery, NegativePositionsSeeNothingUnderCausal) {
  const GalleryData data(1, 64, 1);
  const Expr expr = parse_mask("q >= k", gallery_symbols());
  BlockMaskBuilder builder(expr, data.bindings(), {.tile_q = 16, .tile_kv = 32},
                           {.max_reqs = 1, .max_tokens = 64, .max_seq_len = 64});
  Batch batch;
  batch.add(20, 50);
  const BuiltMask built(builder, batch);
  for (int32_t row = 0; row < 4; ++row) {
    const bool sees = (row + 1) * 16 - 1 >= 30;
    EXPECT_EQ(built.mask().row_start[row + 1] > built.mask().row_start[row], sees) << row;
  }
}

// At 4096 tokens in tiles of 128 by 128. A tile that is neither all visible nor all hidden cannot
// be decided; of the others, analysis alone decides nearly every one.
TEST(Gallery, AnalysisDecidesNearlyEveryTileThatCanBe) {
  constexpr int64_t kWordsPerTile = 128 * 128 / 32;
  const GalleryData data(1, 4096, kHeads);
  const BlockMaskShape shape{.tile_q = 128, .tile_kv = 128, .num_heads = kHeads, .num_kv_heads = 1};
  const BlockMaskLimits limits{.max_reqs = 1, .max_tokens = 4096, .max_seq_len = 4096};
  Batch batch;
  batch.add(4096, 4096);
  std::printf("%-18s %7s %7s %8s %14s\n", "mask", "tiles", "mixed", "decided", "of decidable");
  for (const GalleryMask& mask : gallery()) {
    BlockMaskBuilder builder(parse_mask(mask.text, gallery_symbols()), data.bindings(), shape,
                             limits);
    const int64_t mixed = builder.measure(batch.step()).words / kWordsPerTile;
    const int64_t tiles = int64_t{32} * 32 * builder.num_mask_heads();
    const int64_t decided = tiles - builder.decider().num_evaluated;
    const double share = static_cast<double>(decided) / static_cast<double>(tiles - mixed);
    std::printf("%-18s %7lld %7lld %7.1f%% %13.1f%%\n", mask.name, static_cast<long long>(tiles),
                static_cast<long long>(mixed),
                100.0 * static_cast<double>(decided) / static_cast<double>(tiles), 100 * share);
    EXPECT_GE(share, 0.98) << mask.name;
  }
}

}  // namespace
}  // namespace pagoda::mask

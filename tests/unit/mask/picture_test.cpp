#include "src/mask/picture.h"

#include <gtest/gtest.h>

#include "built_mask.h"
#include "src/mask/gallery.h"
#include "src/mask/parse.h"

namespace pagoda::mask {
namespace {

TileGrid grid_of_text(const char* text, int32_t len, int32_t query_len) {
  const GalleryData data(1, len, 1);
  BlockMaskBuilder builder(parse_mask(text, gallery_symbols()), data.bindings(),
                           {.tile_q = 32, .tile_kv = 32},
                           {.max_reqs = 1, .max_tokens = query_len, .max_seq_len = len});
  Batch batch;
  batch.add(len, query_len);
  const BuiltMask built(builder, batch);
  return grid_of(built.mask(), batch.step(), 0, 0);
}

TEST(Picture, DrawsCausalAsText) {
  const TileGrid grid = grid_of_text("q >= k", 128, 96);
  EXPECT_EQ(draw_text(grid),
            "\u2588\u2588\u2592\u2592 \u00b7 \u00b7\n"
            "\u2588\u2588\u2588\u2588\u2592\u2592 \u00b7\n"
            "\u2588\u2588\u2588\u2588\u2588\u2588\u2592\u2592\n");
  EXPECT_EQ(describe(grid),
            "12 tiles: 6 full, 3 partial, 3 empty; 75.0 % of the tiles are read, 62.9 % of the "
            "pairs visible");
}

TEST(Picture, CountsPairs) {
  const TileGrid grid = grid_of_text("q >= k", 100, 100);
  EXPECT_EQ(grid.all_pairs, 10000);
  EXPECT_EQ(grid.visible_pairs, 5050);
}

TEST(Picture, MergesTilesThatDoNotFit) {
  const TileGrid grid = grid_of_text("q >= k", 128, 128);
  EXPECT_EQ(draw_text(grid, 2), "\u2592\u2592 \u00b7\n\u2588\u2588\u2592\u2592\n");
}

TEST(Picture, DrawsSvgWithRunsAndAnEscapedTitle) {
  const std::string svg = draw_svg(grid_of_text("q >= k", 64, 64), "q >= k && \"x\"", 64);
  EXPECT_EQ(svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"64\" height=\"64\">\n"
            "<title>q &gt;= k &amp;&amp; &quot;x&quot;</title>\n"
            "<rect fill=\"#f2f2f2\" width=\"64\" height=\"64\"/>\n"
            "<rect x=\"0\" y=\"0\" width=\"32\" height=\"32\" fill=\"#8fbbe8\"/>\n"
            "<rect x=\"0\" y=\"32\" width=\"32\" height=\"32\" fill=\"#1f5fa8\"/>\n"
            "<rect x=\"32\" y=\"32\" width=\"32\" height=\"32\" fill=\"#8fbbe8\"/>\n"
            "</svg>\n");
}

TEST(Picture, OfNothingIsEmpty) {
  const TileGrid grid = grid_of_text("q >= k", 32, 0);
  EXPECT_EQ(draw_text(grid), "");
  EXPECT_EQ(grid.all_pairs, 0);
}

}  // namespace
}  // namespace pagoda::mask

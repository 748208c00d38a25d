#include "picture.h"

#include <algorithm>
#include <bit>
#include <cstdio>

namespace pagoda::mask {
namespace {

int64_t popcount(const uint32_t* words, int64_t count) {
  int64_t bits = 0;
  for (int64_t w = 0; w < count; ++w) bits += std::popcount(words[w]);
  return bits;
}

int32_t divided_up(int64_t a, int64_t b) {
  return static_cast<int32_t>((a + b - 1) / b);
}

// The grid with `scale` by `scale` tiles in one.
TileGrid shrunk(const TileGrid& grid, int32_t scale) {
  TileGrid small{.rows = divided_up(grid.rows, scale),
                 .columns = divided_up(grid.columns, scale),
                 .tiles = {},
                 .visible_pairs = grid.visible_pairs,
                 .all_pairs = grid.all_pairs};
  small.tiles.assign(static_cast<size_t>(int64_t{small.rows} * small.columns), Truth{0});
  for (int32_t row = 0; row < grid.rows; ++row)
    for (int32_t column = 0; column < grid.columns; ++column) {
      const int64_t at = int64_t{row / scale} * small.columns + column / scale;
      Truth& cell = small.tiles[static_cast<size_t>(at)];
      // The union of what may be false and what may be true.
      cell = static_cast<Truth>(static_cast<int>(cell) | static_cast<int>(grid.at(row, column)));
    }
  return small;
}

std::string escaped(const std::string& text) {
  std::string safe;
  for (char c : text) {
    if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '&')
      safe += "&amp;";
    else if (c == '"')
      safe += "&quot;";
    else
      safe += c >= ' ' && c <= '~' ? c : '?';
  }
  return safe;
}

const char* colour(Truth truth) {
  return truth == Truth::full ? "#1f5fa8" : "#8fbbe8";
}

}  // namespace

int64_t TileGrid::count(Truth truth) const {
  return std::count(tiles.begin(), tiles.end(), truth);
}

TileGrid grid_of(const BlockMask& mask, const Step& step, int32_t request, int32_t mask_head) {
  const int64_t query_len = step.query_start_loc[request + 1] - step.query_start_loc[request];
  const int64_t seq_len = step.seq_lens[request];
  TileGrid grid{.rows = mask.tile_start[request + 1] - mask.tile_start[request],
                .columns = divided_up(seq_len, mask.tile_kv),
                .tiles = {},
                .visible_pairs = 0,
                .all_pairs = query_len * seq_len};
  grid.tiles.assign(static_cast<size_t>(int64_t{grid.rows} * grid.columns), Truth::empty);
  for (int32_t row = 0; row < grid.rows; ++row) {
    const int64_t list = int64_t{mask_head} * mask.num_tiles_q + mask.tile_start[request] + row;
    const int64_t queries = std::min<int64_t>(mask.tile_q, query_len - int64_t{row} * mask.tile_q);
    for (int32_t i = mask.row_start[list]; i < mask.row_start[list + 1]; ++i) {
      const bool full = mask.bits_at[i] < 0;
      const int64_t tile = mask.tile[i];
      grid.tiles[static_cast<size_t>(int64_t{row} * grid.columns + tile)] =
          full ? Truth::full : Truth::undecided;
      const int64_t keys = std::min<int64_t>(mask.tile_kv, seq_len - tile * mask.tile_kv);
      grid.visible_pairs +=
          full ? queries * keys
               : popcount(mask.bits + mask.bits_at[i], queries * mask.tile_kv / 32);
    }
  }
  return grid;
}

std::string draw_text(const TileGrid& grid, int32_t max_columns) {
  const TileGrid cells =
      shrunk(grid, std::max(1, divided_up(grid.columns, std::max(1, max_columns))));
  std::string text;
  for (int32_t row = 0; row < cells.rows; ++row) {
    for (int32_t column = 0; column < cells.columns; ++column) {
      const Truth truth = cells.at(row, column);
      text += truth == Truth::full    ? "\u2588\u2588"
              : truth == Truth::empty ? " \u00b7"
                                      : "\u2592\u2592";
    }
    text += '\n';
  }
  return text;
}

std::string draw_svg(const TileGrid& grid, const std::string& title, int32_t max_side) {
  const int32_t most = std::max({grid.rows, grid.columns, 1});
  // Tiles narrower than a user unit are merged.
  const TileGrid cells = shrunk(grid, divided_up(most, std::max(1, max_side)));
  const int32_t side = std::max(1, max_side / std::max({cells.rows, cells.columns, 1}));
  const std::string size = "\" width=\"" + std::to_string(cells.columns * side) + "\" height=\"" +
                           std::to_string(cells.rows * side) + "\"";
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg" + size + ">\n<title>" +
                    escaped(title) + "</title>\n<rect fill=\"#f2f2f2" + size + "/>\n";
  for (int32_t row = 0; row < cells.rows; ++row) {
    for (int32_t column = 0, end; column < cells.columns; column = end) {
      const Truth truth = cells.at(row, column);
      end = column + 1;
      while (end < cells.columns && cells.at(row, end) == truth) ++end;
      if (truth == Truth::empty) continue;
      svg += "<rect x=\"" + std::to_string(column * side) + "\" y=\"" + std::to_string(row * side) +
             "\" width=\"" + std::to_string((end - column) * side) + "\" height=\"" +
             std::to_string(side) + "\" fill=\"" + colour(truth) + "\"/>\n";
    }
  }
  return svg + "</svg>\n";
}

std::string describe(const TileGrid& grid) {
  const auto all = static_cast<int64_t>(grid.tiles.size());
  const int64_t full = grid.count(Truth::full), partial = grid.count(Truth::undecided);
  const auto percent = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  char text[256];
  std::snprintf(text, sizeof(text),
                "%lld tiles: %lld full, %lld partial, %lld empty; %.1f %% of the tiles are read, "
                "%.1f %% of the pairs visible",
                static_cast<long long>(all), static_cast<long long>(full),
                static_cast<long long>(partial), static_cast<long long>(all - full - partial),
                percent(full + partial, all), percent(grid.visible_pairs, grid.all_pairs));
  return text;
}

}  // namespace pagoda::mask

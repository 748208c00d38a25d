// What a block mask looks like: its tiles as text for a terminal or as SVG for a page, and the
// share of the work that it leaves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "block_mask.h"
#include "interval.h"

namespace pagoda::mask {

// The tiles of one request under one head of the mask, row by row.
struct TileGrid {
  int32_t rows = 0, columns = 0;
  std::vector<Truth> tiles;   // [rows, columns]; undecided: partial
  int64_t visible_pairs = 0;  // of query and key
  int64_t all_pairs = 0;

  Truth at(int32_t row, int32_t column) const {
    return tiles[static_cast<size_t>(int64_t{row} * columns + column)];
  }
  int64_t count(Truth truth) const;
};

TileGrid grid_of(const BlockMask& mask, const Step& step, int32_t request, int32_t mask_head);

// At most `max_columns` wide: neighbouring tiles share a character where there are more. A
// character is full or empty only if all its tiles are.
std::string draw_text(const TileGrid& grid, int32_t max_columns = 64);

// A square per tile, at most `max_side` user units wide. `title` is escaped.
std::string draw_svg(const TileGrid& grid, const std::string& title, int32_t max_side = 512);

// "1024 tiles: 31 full, 64 partial, 929 empty; 9.3 % of the tiles are read, 6.2 % of the pairs
// visible".
std::string describe(const TileGrid& grid);

}  // namespace pagoda::mask

// Attention of some rows over the keys of one split, tile by tile.
//
//   rows (query tokens x group)        keys of a tile (64)
//        |                                   |
//        +--- Q [rows, head_dim]   x   K transposed [head_dim, 64]   -> scores [rows, 64]
//                                                                         | softmax
//        O [rows, head_dim_v]  +=  weights [rows, 64]  x  V [64, head_dim_v]
//
// Each tile is packed once for all rows of the task. A row takes part in the tiles that hold keys
// it sees and in no others, or takes part with weights of 0, which change nothing: so the rows
// beside it leave no trace in its bits.
#pragma once

#include "gemm.inl.h"
#include "pack.inl.h"
#include "seen.inl.h"
#include "softmax.inl.h"
#include "tile.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Rows that are multiplied together.
struct Block {
  int row, rows;
  int begin, end;  // keys of the tile that one of them sees lie in [begin, end); empty: none
  bool edge;       // not all of them see all of the columns that are computed

  Block(const Tile& tile, int row) : row(row), rows(smaller(tile.last - row, kBlockRows)) {
    uint64_t any = 0, all = ~uint64_t{0};
    for (int r = row; r < row + rows; ++r) {
      any |= tile.seen.words[r];
      all &= tile.seen.words[r];
    }
    begin = any != 0 ? __builtin_ctzll(any) : 0;
    end = any != 0 ? kTileKeys - __builtin_clzll(any) : 0;
    edge = (~all & seen_between(0, round_up(end, kWidth))) != 0;
  }
  bool empty() const { return end == 0; }
};

inline void weigh_rows(const AttendTask& task, const Tile& tile, const TileScales& scales,
                       const Block& block) {
  const int columns = round_up(block.end, kWidth);
  const bool plain = !block.edge && columns == kTileKeys && task.softcap == 0 &&
                     task.bias == Bias::none && task.score.apply == nullptr;
  plain ? softmax_plain_rows(task, scales, block.row, block.rows)
        : softmax_rows(task, scales, block.row, block.rows, tile.start, tile.seen.words + block.row,
                       columns);
}

// Calls body(E{}) for the element's type.
template <class Body>
inline void with_element(Element element, const Body& body) {
  if (element == Element::f32) return body(AsF32{});
  if (element == Element::f16) return body(AsF16{});
  if (element == Element::bf16) return body(AsBf16{});
  if (element == Element::int8) return body(AsInt8{});
  body(AsE4m3{});
}

inline int bytes_of(Element element) {
  int bytes = 0;
  with_element(element, [&]<class E>(E) { bytes = E::kBytes; });
  return bytes;
}

// Asks for the rows [key, end) of a tile.
inline void ask_for(const AttendTask& task, const Tile& tile, int key, int end) {
  const int key_bytes = task.head_dim * bytes_of(task.key_element);
  const int value_bytes = task.head_dim_v * bytes_of(task.value_element);
  for (; key < end; ++key) {
    for (int i = 0; i < key_bytes; i += 64) prefetch(tile.keys[key] + i);
    for (int i = 0; i < value_bytes; i += 64) prefetch(tile.values[key] + i);
  }
}

// Products of a block's rows with packed keys.
inline void multiply_keys(const AttendTask& task, const Block& block) {
  const float* q = task.queries + static_cast<int64_t>(block.row) * task.head_dim;
  float* scores = task.scores + static_cast<int64_t>(block.row) * kTileKeys;
  const int columns = round_up(block.end, kWidth);
  for (int c = 0; c < columns; c += kPanel) {
    const PanelB keys{task.packed_keys + static_cast<int64_t>(c) * task.head_dim, kPanel};
    multiply_block(block.rows, smaller(columns - c, kPanel) / kWidth, q, task.head_dim, keys, 0,
                   task.head_dim, nullptr, scores + c, kTileKeys);
  }
}

// Weights of every row for the tile, from packed keys. The next tile's rows are asked for
// meanwhile, a few per block of rows: there is time for all of them.
inline void weigh(const AttendTask& task, const Tile& tile, const Tile* next,
                  const TileScales& scales) {
  const int blocks = (tile.last - tile.first + kBlockRows - 1) / kBlockRows;
  const int share = (kTileKeys + blocks - 1) / blocks;
  int asked = next == nullptr ? kTileKeys : 0;
  for (int row = tile.first; row < tile.last; row += kBlockRows) {
    const int end = smaller(asked + share, kTileKeys);
    if (asked < end) ask_for(task, *next, asked, end);
    asked = end;
    const Block block(tile, row);
    if (block.empty()) continue;
    multiply_keys(task, block);
    weigh_rows(task, tile, scales, block);
  }
}

// Products of few rows with keys that are used as they are transposed.
template <class E, int kRows>
inline void multiply_keys_in_place(const AttendTask& task, const Tile& tile, Ahead& ahead) {
  const int columns = round_up(tile.end, kWidth);
  const float* q = task.queries + static_cast<int64_t>(tile.first) * task.head_dim;
  float* scores = task.scores + static_cast<int64_t>(tile.first) * kTileKeys;
  for (int key = 0; key < columns; key += kWidth) {
    for (int d = 0; d < task.head_dim; d += KeyBlock<E>::kDims) {
      const int dims = smaller(task.head_dim - d, KeyBlock<E>::kDims);
      F32 sum[kRows];
      const float* from[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sum[r] = d == 0 ? broadcast(0.0f) : load(scores + r * kTileKeys + key);
        from[r] = q + static_cast<int64_t>(r) * task.head_dim + d;
      }
      KeyBlock<E>::each(
          tile.keys, ahead, key, d, dims, [&](int i, F32 keys) __attribute__((always_inline)) {
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) sum[r] = fma(broadcast(from[r][i]), keys, sum[r]);
          });
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) store(scores + r * kTileKeys + key, sum[r]);
    }
  }
}

template <class E>
[[gnu::noinline]] inline void weigh_in_place(const AttendTask& task, const Tile& tile,
                                             const TileScales& scales, Ahead& ahead) {
  const Block block(tile, tile.first);
  switch (block.rows) {
    case 1:
      multiply_keys_in_place<E, 1>(task, tile, ahead);
      break;
    case 2:
      multiply_keys_in_place<E, 2>(task, tile, ahead);
      break;
    case 3:
      multiply_keys_in_place<E, 3>(task, tile, ahead);
      break;
    case 4:
      multiply_keys_in_place<E, 4>(task, tile, ahead);
      break;
    default:
      if constexpr (kBlockRows > 4)
        block.rows == 5 ? multiply_keys_in_place<E, 5>(task, tile, ahead)
                        : multiply_keys_in_place<E, 6>(task, tile, ahead);
  }
  weigh_rows(task, tile, scales, block);
}

// o of rows [row, row + rows) over the keys [begin, end) of the tile. rescale: [rows]
template <class B>
inline void accumulate(const AttendTask& task, int row, int rows, Panel panel, const B& values,
                       int begin, int end, const float* rescale) {
  const int64_t stride = static_cast<int64_t>(Panels(task.head_dim_v).vectors) * kWidth;
  multiply_block(rows, panel.vectors, task.scores + static_cast<int64_t>(row) * kTileKeys,
                 kTileKeys, values, begin, end, rescale,
                 task.state.o + row * stride + panel.first * kWidth, stride);
}

// The keys that the row sees and no others: one stretch of them after the other.
template <class B>
inline void accumulate_seen(const AttendTask& task, int row, Panel panel, const B& values,
                            uint64_t seen) {
  const float one = 1.0f;
  const float* rescale = task.rescale + row;
  while (seen != 0) {
    const int begin = __builtin_ctzll(seen);
    const uint64_t ended = ~seen & ~(seen_between(0, begin));
    const int end = ended != 0 ? __builtin_ctzll(ended) : kTileKeys;
    accumulate(task, row, 1, panel, values, begin, end, rescale);
    rescale = &one;
    seen &= ~seen_between(begin, end);
  }
}

inline void accumulate_packed(const AttendTask& task, const Tile& tile, bool exact) {
  const Panels panels(task.head_dim_v);
  for (int p = 0; p < panels.count; ++p) {
    const Panel panel = panels.panel(p);
    const PanelB values{panel_of(task.packed_values, panel),
                        static_cast<int64_t>(panel.vectors) * kWidth};
    if (!exact) {
      for (int row = tile.first; row < tile.last; row += kBlockRows) {
        const Block block(tile, row);
        if (!block.empty())
          accumulate(task, row, block.rows, panel, values, block.begin, block.end,
                     task.rescale + row);
      }
      continue;
    }
    for (int row = tile.first; row < tile.last; ++row)
      accumulate_seen(task, row, panel, values, tile.seen.words[row]);
  }
}

// In steps of few keys, so that the columns of a row are read while it is still in the first-level
// cache.
template <class E>
[[gnu::noinline]] inline void accumulate_in_place(const AttendTask& task, const Tile& tile,
                                                  Ahead& ahead) {
  constexpr int kStep = 32;
  const Panels panels(task.head_dim_v);
  const int rows = tile.last - tile.first;
  for (int key = tile.begin; key < tile.end; key += kStep) {
    const int end = smaller(key + kStep, tile.end);
    for (int p = 0; p < panels.count; ++p) {
      const Panel panel = panels.panel(p);
      const RowsB<E> values{tile.values, PanelOfRow<E>(panel, task.head_dim_v), ahead};
      accumulate(task, tile.first, rows, panel, values, key, end, task.rescale + tile.first);
    }
    for (int row = tile.first; row < tile.last; ++row) task.rescale[row] = 1.0f;
  }
}

// Rows so few that packing would not be used twice, all of which see the same keys.
inline void attend_few_rows(const AttendTask& task, const Tile& tile, const TileScales& scales,
                            Ahead& ahead) {
  with_element(task.key_element, [&]<class E>(E) { weigh_in_place<E>(task, tile, scales, ahead); });
  with_element(task.value_element, [&]<class E>(E) { accumulate_in_place<E>(task, tile, ahead); });
}

// A value that one row sees and another does not is multiplied by a weight of 0 for the other,
// which is NaN if the value is not finite. Such tiles are rare; there each row takes its own keys
// alone.
inline void attend_many_rows(const AttendTask& task, const Tile& tile, const TileScales& scales,
                             const Tile* next, Ahead& ahead) {
  with_element(task.key_element, [&]<class E>(E) {
    pack_keys<E>(tile.keys, ahead, round_up(tile.end, kWidth), task.head_dim, task.packed_keys);
  });
  weigh(task, tile, next, scales);
  with_element(task.value_element, [&]<class E>(E) {
    pack_values<E>(tile.values, ahead, tile.begin, tile.end, task.head_dim_v, task.packed_values);
  });
  const bool exact = !tile.seen.is_uniform() &&
                     !all_finite(task.packed_values, tile.begin, tile.end, task.head_dim_v);
  accumulate_packed(task, tile, exact);
}

inline void attend_tile(const AttendTask& task, const Tile& tile, const Tile* next) {
  const int key_bytes = task.head_dim * bytes_of(task.key_element);
  const int value_bytes = task.head_dim_v * bytes_of(task.value_element);
  const Stretch next_keys =
      next != nullptr ? Stretch{next->keys, next->begin, next->end, key_bytes, nullptr} : Stretch{};
  const Stretch values{tile.values, tile.begin, tile.end, value_bytes,
                       next != nullptr ? &next_keys : nullptr};
  const Stretch keys{tile.keys, tile.begin, tile.end, key_bytes, &values};
  Ahead ahead(&keys);
  float key_scales[kTileKeys], value_scales[kTileKeys];
  const TileScales scales{gather(task.keys, tile.key_scales, key_scales),
                          gather(task.values, tile.value_scales, value_scales)};
  if (tile.seen.is_uniform() && tile.last - tile.first <= kBlockRows)
    return attend_few_rows(task, tile, scales, ahead);
  attend_many_rows(task, tile, scales, next, ahead);
}

inline void clear(const AttendTask& task) {
  const int64_t stride = static_cast<int64_t>(Panels(task.head_dim_v).vectors) * kWidth;
  for (int row = 0; row < task.num_rows; ++row) {
    task.state.m[row] = kMinusInfinity;
    task.state.l[row] = 0;
    for (int64_t c = 0; c < stride; c += kWidth)
      store(task.state.o + row * stride + c, broadcast(0.0f));
  }
}

inline void attend_split(const AttendTask& task) {
  if (!task.continues) clear(task);
  Tile tiles[2];
  int current = 0;
  bool found = find_tile(task, task.key_begin, SeenTile::none(task.seen), tiles[current]);
  while (found) {
    const Tile& tile = tiles[current];
    Tile& next = tiles[1 - current];
    uint64_t* words = task.seen + static_cast<int64_t>(1 - current) * task.num_rows;
    found = find_tile(task, tile.start + kTileKeys, tile.seen.with(words), next);
    attend_tile(task, tile, found ? &next : nullptr);
    current = 1 - current;
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

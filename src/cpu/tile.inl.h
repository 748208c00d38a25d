// Tiles of keys: which come next, and where their rows of keys and values lie.
#pragma once

#include "seen.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Rows of one tile; those that no query may read point to zeros.
using RowPointers = const char* [kTileKeys];

// Scales of a tile's keys and values, [kTileKeys] each; null: there are none.
struct TileScales {
  const float *keys, *values;
};

// What rows that no query may read point to.
alignas(64) constexpr float kZeros[kMaxHeadDim] = {};
constexpr float kOne = 1;

struct Tile {
  int start;           // first key
  int first, last;     // rows that see a key of it lie in [first, last)
  int begin, end;      // keys that one of them sees lie in [begin, end), from the start
  SeenTile seen;       // which of them sees which
  int32_t* halves;     // set by those who ask: what lists show; null: rows see their ranges
  RowPointers keys;    // zeros for the keys that no row sees
  RowPointers values;  // likewise

  // The scales of both where they have any, likewise; 1 outside.
  RowPointers key_scales, value_scales;
};

// Bytes within which the machine prefetches on its own once it saw the first line.
constexpr int kPrefetchReach = 4096;

// pointers[i] for the keys start + i with begin <= i < end, those that `any` has the bits of.
//
// Tiles are located one ahead of their use. Touching a single line of each stretch of memory then
// is enough: it finds the page's translation and starts the machine's own prefetcher, which is
// faster than naming every line.
inline void locate(const PagedRows& rows, int start, int begin, int end, uint64_t any,
                   RowPointers& pointers) {
  for (int i = 0; i < begin; ++i) pointers[i] = reinterpret_cast<const char*>(kZeros);
  for (int i = end; i < kTileKeys; ++i) pointers[i] = reinterpret_cast<const char*>(kZeros);
  int page = (start + begin) / rows.page_size, offset = (start + begin) % rows.page_size;
  const int64_t stride = rows.token_stride;
  const int64_t reach = stride > kPrefetchReach ? stride : kPrefetchReach;
  for (int i = begin; i < end; ++page, offset = 0) {
    const int count = smaller(end - i, rows.page_size - offset);
    const char* row = rows.base + rows.pages[page] * rows.page_stride + offset * stride;
    for (int64_t at = 0; at < count * stride; at += reach) prefetch(row + at);
    const int stop = i + count;
    for (; i + 8 <= stop; i += 8, row += 8 * stride)
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) pointers[i + j] = row + j * stride;
    for (; i < stop; ++i, row += stride) pointers[i] = row;
  }
  // A key that no row sees is not read, whatever it holds.
  for (uint64_t hidden = ~any & seen_between(begin, end); hidden != 0; hidden &= hidden - 1)
    pointers[__builtin_ctzll(hidden)] = reinterpret_cast<const char*>(kZeros);
}

// The same for the scales of rows. The lines that hold them are prefetched, few as they are.
inline void locate_scales(const PagedRows& rows, int start, int begin, int end, uint64_t any,
                          RowPointers& pointers) {
  if (rows.scales == nullptr) return;
  const char* const one = reinterpret_cast<const char*>(&kOne);
  for (int i = 0; i < begin; ++i) pointers[i] = one;
  for (int i = end; i < kTileKeys; ++i) pointers[i] = one;
  const int64_t stride = rows.scale_token_stride;
  for (int i = begin; i < end;) {
    const int page = (start + i) / rows.page_size, offset = (start + i) % rows.page_size;
    const int count = smaller(end - i, rows.page_size - offset);
    const char* scale = rows.scales + rows.pages[page] * rows.scale_page_stride + offset * stride;
    for (int64_t at = 0; at<count * stride; at += stride> 64 ? stride : 64) prefetch(scale + at);
    prefetch(scale + (count - 1) * stride);
    for (int j = 0; j < count; ++j) pointers[i + j] = scale + j * stride;
    i += count;
  }
  for (uint64_t hidden = ~any & seen_between(begin, end); hidden != 0; hidden &= hidden - 1)
    pointers[__builtin_ctzll(hidden)] = one;
}

// Locates the keys of a tile that some row sees.
inline void set_tile(const AttendTask& task, const SeenTile& from, Tile& tile) {
  tile.seen = from;
  tile.start = from.start;
  tile.first = from.first;
  tile.last = from.last;
  tile.begin = __builtin_ctzll(from.any);
  tile.end = kTileKeys - __builtin_clzll(from.any);
  locate(task.keys, tile.start, tile.begin, tile.end, from.any, tile.keys);
  locate(task.values, tile.start, tile.begin, tile.end, from.any, tile.values);
  locate_scales(task.keys, tile.start, tile.begin, tile.end, from.any, tile.key_scales);
  locate_scales(task.values, tile.start, tile.begin, tile.end, from.any, tile.value_scales);
}

// The first tile at or after `start` of which some row sees a key, or the last one at or before it.
// `from` is the tile found before with memory for the new one's words.
template <bool kDescends = false>
inline bool find_tile(const AttendTask& task, int start, SeenTile from, Tile& tile) {
  if (!(kDescends ? find_seen_before(task, start, from) : find_seen(task, start, from)))
    return false;
  set_tile(task, from, tile);
  return true;
}

// work(tile, next) for every tile of which some row sees a key, in order; next is null at the last.
// Tiles are located one ahead of their use (see locate).
template <bool kDescends = false, class Work>
inline void each_tile(const AttendTask& task, const Work& work) {
  constexpr int kStep = kDescends ? -kTileKeys : kTileKeys;
  const int start = kDescends ? last_tile(task) : task.key_begin;
  Tile tiles[2];
  int current = 0;
  bool found = find_tile<kDescends>(task, start, SeenTile::none(task.seen), tiles[current]);
  while (found) {
    Tile& tile = tiles[current];
    Tile& next = tiles[1 - current];
    uint64_t* words = task.seen + static_cast<int64_t>(1 - current) * task.num_rows;
    found = find_tile<kDescends>(task, tile.start + kStep, tile.seen.with(words), next);
    work(tile, found ? &next : nullptr);
    current = 1 - current;
  }
}

// Gathers the scales of a tile's rows, where there are any.
inline const float* gather(const PagedRows& rows, const RowPointers& pointers, float* scales) {
  if (rows.scales == nullptr) return nullptr;
  constexpr int kTogether = 16;  // that often lie one behind the other
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  for (int i = 0; i < kTileKeys; i += kTogether) {
    int64_t apart = 0;
    for (int j = 1; j < kTogether; ++j) apart |= pointers[i + j] - pointers[i] - j * kFloat;
    if (apart == 0) {
      __builtin_memcpy(scales + i, pointers[i], kTogether * sizeof(float));
      continue;
    }
    for (int j = i; j < i + kTogether; ++j)
      __builtin_memcpy(scales + j, pointers[j], sizeof(float));
  }
  return scales;
}

}  // namespace pagoda::cpu::PAGODA_ISA

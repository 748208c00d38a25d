// What rows see of the tiles of a pass. Without a block mask that are their ranges. With one, what
// its lists show of each tile is kept, and the bits of rows are read only where a tile is neither
// empty nor full for them.
#pragma once

#include "amx_scratch.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// What a list shows of half a tile: these, or where the bits of its first row are.
constexpr int32_t kShowsAll = -1, kShowsNone = -2;

// halves: [num_lists, 2]
inline void keep_lists(const MaskLists& mask, int32_t* halves) {
  for (int i = 0; i < mask.num_lists; ++i)
    for (int half = 0; half < 2; ++half) {
      const MaskList& list = mask.lists[i];
      const int32_t whole = list.all[half] != 0 ? kShowsAll : kShowsNone;
      *halves++ =
          list.bits[half] != nullptr ? static_cast<int32_t>(list.bits[half] - mask.bits) : whole;
    }
}

inline uint32_t half_shown(const MaskLists& mask, const int32_t* halves, int half, int row) {
  const int64_t at = halves[2 * mask.list_of_row[row] + half];
  if (at < 0) return at == kShowsAll ? ~0u : 0u;
  return mask.bits[at + mask.offset_of_row[row]];
}

// Keys of the tile at `start`, to which the lists were moved, that some row sees.
inline uint64_t keys_seen(const AttendTask& task, int start) {
  const MaskLists& mask = *task.block_mask;
  const int last = task.num_rows - 1;
  const auto range = [&](int begin, int end) {
    return seen_between(larger(task.visible_begin[begin] - start, 0),
                        smaller(smaller(task.visible_end[end], task.key_end) - start, kTileKeys));
  };
  const uint64_t most = range(0, last);
  uint64_t any = range(last, last) & mask_word(mask, last);
  for (int row = 0; row < last && any != most; ++row)
    if (row == 0 || !shows_same(mask, row)) any |= range(row, row) & mask_word(mask, row);
  return any;
}

// A tile of which some row sees these keys.
inline void take_tile(const AttendTask& task, int start, uint64_t any, Tile& tile) {
  SeenTile seen = SeenTile::none(nullptr);
  seen.start = start;
  seen.last = task.num_rows;
  seen.any = any;
  set_tile(task, seen, tile);
}

// The first tile at or after `start`, or the last one at or before it, where rows see their ranges,
// taking all keys between the first and the last that a row sees for seen: no mask hides a part of
// them.
inline bool next_of_ranges(const AttendTask& task, int start, Tile& tile) {
  const int begin = larger(task.visible_begin[0], task.key_begin);
  const int end = smaller(task.visible_end[task.num_rows - 1], task.key_end);
  const int from = task.descends ? begin : larger(begin, start);
  const int to = task.descends ? smaller(end, start + kTileKeys) : end;
  if (from >= to) return false;
  start = (task.descends ? to - 1 : from) / kTileKeys * kTileKeys;
  const uint64_t any = seen_between(larger(begin - start, 0), smaller(end - start, kTileKeys));
  take_tile(task, start, any, tile);
  tile.halves = nullptr;
  return true;
}

// Moves the lists to the first tile at or after `start`, or the last one at or before it, that some
// list shows a part of. False: there is none.
inline bool find_listed(const AttendTask& task, int& start) {
  if (!task.descends) {
    start = next_listed(task, start);
    return start < task.key_end;
  }
  for (; start >= task.key_begin; start -= kTileKeys)
    if (move_lists(*task.block_mask, start)) return true;
  return false;
}

// And where lists show tiles. halves: [num_lists, 2] of the tile that is found
inline bool next_of_lists(const AttendTask& task, int start, int32_t* halves, Tile& tile) {
  const MaskLists& mask = *task.block_mask;
  uint64_t any = 0;
  for (;; start += task.descends ? -kTileKeys : kTileKeys) {
    if (!find_listed(task, start)) return false;
    const bool touches =
        task.visible_begin[0] < start + kTileKeys && task.visible_end[task.num_rows - 1] > start;
    if (touches && shows_all(mask)) return next_of_ranges(task, start, tile);
    any = keys_seen(task, start);
    if (any != 0) break;
  }
  take_tile(task, start, any, tile);
  tile.halves = halves;
  keep_lists(mask, halves);
  return true;
}

// The tiles of which some row sees a key, one after the other.
class TileStream {
 public:
  explicit TileStream(const AttendTask& task)
      : task_(task), start_(task.descends ? last_tile(task) : task.key_begin) {}

  bool next(Tile& tile) {
    const bool found = find(tile);
    if (found) start_ = tile.start + (task_.descends ? -kTileKeys : kTileKeys);
    return found;
  }

 private:
  bool find(Tile& tile) {
    if (task_.block_mask == nullptr) return next_of_ranges(task_, start_, tile);
    static_assert(kListedTiles > kPassTiles);  // those of a pass, and the one behind it
    const int64_t size = int64_t{task_.block_mask->num_lists} * 2;
    place_ = (place_ + 1) % kListedTiles;
    return next_of_lists(task_, start_, task_.block_mask->halves + place_ * size, tile);
  }

  const AttendTask& task_;
  int start_;  // where to look for the next one
  int place_ = 0;
};

// What the rows of a group see where they see ranges: keys [begin, begin + count) of each.
struct RangeLanes {
  __m512i begin, count;

  // Lanes beyond the rows repeat the first.
  RangeLanes(const AttendTask& task, int first, int rows) {
    begin = lanes_of_rows(task.visible_begin, first, rows);
    const __m512i end = lanes_of_rows(task.visible_end, first, rows);
    count = _mm512_max_epi32(_mm512_sub_epi32(end, begin), _mm512_setzero_si512());
  }

  // A bit for each key of the unit that begins with this one.
  __m512i words(int first_key) const {
    const __m512i ones = _mm512_set1_epi32(-1);
    const __m512i from = _mm512_sub_epi32(begin, _mm512_set1_epi32(first_key));
    const __m512i to = _mm512_add_epi32(from, count), zero = _mm512_setzero_si512();
    return _mm512_andnot_si512(_mm512_sllv_epi32(ones, _mm512_max_epi32(to, zero)),
                               _mm512_sllv_epi32(ones, _mm512_max_epi32(from, zero)));
  }
};

// The list that all of these rows read; -1: they read several.
inline int list_of_rows(const MaskLists& mask, int first, int rows) {
  const int32_t* lists = mask.list_of_row + first;
  for (int i = 1; i < rows; ++i)
    if (lists[i] != lists[0]) return -1;
  return lists[0];
}

// What the lists of a block mask show to the rows of a group.
struct ListLanes {
  const MaskLists& mask;
  int list;  // list_of_rows, of these or more of them
  int first, rows;

  // A bit for each key of half a tile. Lanes beyond the rows repeat the first.
  __m512i words(const int32_t* halves, int half) const {
    if (list < 0) return words_of_rows(halves, half);
    const int64_t at = halves[2 * list + half];
    if (at < 0) return _mm512_set1_epi32(at == kShowsAll ? -1 : 0);
    const __m512i offsets = lanes_of_rows(mask.offset_of_row, first, rows);
    return _mm512_i32gather_epi32(offsets, mask.bits + at, sizeof(uint32_t));
  }

 private:
  __m512i words_of_rows(const int32_t* halves, int half) const {
    uint32_t words[kGroupRows];
    for (int i = 0; i < kGroupRows; ++i)
      words[i] = half_shown(mask, halves, half, first + (i < rows ? i : 0));
    return _mm512_loadu_si512(words);
  }
};

// -inf at what the rows do not see of the unit that begins with a key. scores: [kUnitKeys, 16]
inline void hide(const RangeLanes& seen, int first_key, float* scores) {
  const F32 hidden = broadcast(kMinusInfinity);
  __m512i place = _mm512_sub_epi32(_mm512_set1_epi32(first_key), seen.begin);
  for (int key = 0; key < kUnitKeys; ++key, scores += kGroupRows) {
    store(scores, select({_mm512_cmplt_epu32_mask(place, seen.count)}, load(scores), hidden));
    place = _mm512_add_epi32(place, _mm512_set1_epi32(1));
  }
}

// The same, given a word of bits for each row.
inline void hide(__m512i words, float* scores) {
  const F32 hidden = broadcast(kMinusInfinity);
  __m512i bit = _mm512_set1_epi32(1);
  for (int key = 0; key < kUnitKeys; ++key, scores += kGroupRows) {
    store(scores, select({_mm512_test_epi32_mask(words, bit)}, load(scores), hidden));
    bit = _mm512_add_epi32(bit, bit);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

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

// The same as find_tile where rows see their ranges, taking all keys between the first and the last
// that a row sees for seen: no mask hides a part of them.
inline bool next_of_ranges(const AttendTask& task, int start, SeenTile from, Tile& tile) {
  const int begin = larger(task.visible_begin[0], start);
  const int end = task.visible_end[task.num_rows - 1];
  if (begin >= end || begin >= task.key_end) return false;
  from.start = begin / kTileKeys * kTileKeys;
  from.first = 0;
  from.last = task.num_rows;
  from.any = seen_between(larger(task.visible_begin[0] - from.start, 0),
                          smaller(smaller(end, task.key_end) - from.start, kTileKeys));
  set_tile(task, from, tile);
  tile.halves = nullptr;
  return true;
}

// And where lists show tiles. halves: [num_lists, 2] of the tile that is found
inline bool next_of_lists(const AttendTask& task, int start, SeenTile from, int32_t* halves,
                          Tile& tile) {
  const MaskLists& mask = *task.block_mask;
  for (;; start += kTileKeys) {
    start = next_listed(task, start);
    if (start >= task.key_end) return false;
    const bool touches =
        task.visible_begin[0] < start + kTileKeys && task.visible_end[task.num_rows - 1] > start;
    if (touches && shows_all(mask)) return next_of_ranges(task, start, from, tile);
    from.any = keys_seen(task, start);
    if (from.any != 0) break;
  }
  from.start = start;
  from.first = 0;
  from.last = task.num_rows;
  set_tile(task, from, tile);
  tile.halves = halves;
  keep_lists(mask, halves);
  return true;
}

// The tiles of which some row sees a key, one after the other.
class TileStream {
 public:
  explicit TileStream(const AttendTask& task) : task_(task) {}

  // The next one from `start` on.
  bool next(int start, Tile& tile) {
    const SeenTile none = SeenTile::none(nullptr);
    if (task_.block_mask == nullptr) return next_of_ranges(task_, start, none, tile);
    static_assert(kListedTiles > kPassTiles);  // those of a pass, and the one behind it
    const int64_t size = int64_t{task_.block_mask->num_lists} * 2;
    place_ = (place_ + 1) % kListedTiles;
    return next_of_lists(task_, start, none, task_.block_mask->halves + place_ * size, tile);
  }

 private:
  const AttendTask& task_;
  int place_ = 0;
};

// What the rows of a group see where they see ranges: keys [begin, begin + count) of each.
struct RangeLanes {
  __m512i begin, count;

  // Lanes beyond the rows repeat the first.
  RangeLanes(const AttendTask& task, int first, int rows) {
    int32_t from[kGroupRows], to[kGroupRows];
    for (int i = 0; i < kGroupRows; ++i) {
      from[i] = task.visible_begin[first + (i < rows ? i : 0)];
      to[i] = task.visible_end[first + (i < rows ? i : 0)];
    }
    begin = _mm512_loadu_si512(from);
    count =
        _mm512_max_epi32(_mm512_sub_epi32(_mm512_loadu_si512(to), begin), _mm512_setzero_si512());
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
    const __m512i first_offset = _mm512_set1_epi32(mask.offset_of_row[first]);
    const __m512i offsets = _mm512_mask_loadu_epi32(
        first_offset, static_cast<__mmask16>((1u << rows) - 1), mask.offset_of_row + first);
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

// Which keys of a tile each row sees, as one word of bits per row: the range that the built-in mask
// gives it, and of that what its block mask shows. Everything that attends a tile reads these words
// alone, so a row gets the same bits whatever kind of mask they come from.
#pragma once

#include "kernels.h"

namespace pagoda::cpu::PAGODA_ISA {

inline int smaller(int a, int b) {
  return a < b ? a : b;
}
inline int larger(int a, int b) {
  return a > b ? a : b;
}
inline int round_up(int n, int unit) {
  return (n + unit - 1) / unit * unit;
}

// Bits [begin, end) of 64.
inline uint64_t seen_between(int begin, int end) {
  if (end <= begin) return 0;
  const uint64_t below_end = end >= kTileKeys ? ~uint64_t{0} : (uint64_t{1} << end) - 1;
  return below_end & ~((uint64_t{1} << begin) - 1);
}

struct SeenTile {
  int start;                    // first key
  int first, last;              // rows outside [first, last) see nothing of it
  int range_first, range_last;  // rows whose ranges touch the tile; both only grow
  uint64_t any, all;            // keys that some row of [first, last) sees; that all of them see
  uint64_t* words;              // [num_rows], those of [first, last) set

  static SeenTile none(uint64_t* words) { return {0, 0, 0, 0, 0, 0, 0, words}; }
  SeenTile with(uint64_t* other_words) const {
    SeenTile it = *this;
    it.words = other_words;
    return it;
  }
  bool is_uniform() const { return any == all; }
};

// Moves a list to the keys [start, start + kTileKeys), from before or behind them. Returns whether
// it shows any of them.
inline bool move_list(const MaskLists& mask, MaskList& list, int start) {
  constexpr int kHalf = kTileKeys / 2;
  const auto ends_before = [&](const int32_t* tile) {
    return (*tile + 1) * int64_t{mask.tile_kv} <= start;
  };
  for (; list.tile > list.first && !ends_before(list.tile - 1); --list.bits_at) --list.tile;
  for (; list.tile < list.tile_end && ends_before(list.tile); ++list.bits_at) ++list.tile;
  const int32_t* entry = list.tile;
  const int32_t* bits_at = list.bits_at;
  bool shows = false;
  for (int half = 0; half < 2; ++half) {
    const int64_t key = int64_t{start} + half * kHalf;
    if (entry < list.tile_end && (*entry + 1) * int64_t{mask.tile_kv} <= key) {
      ++entry;
      ++bits_at;
    }
    const bool listed = entry < list.tile_end && int64_t{*entry} * mask.tile_kv <= key;
    const bool full = listed && *bits_at < 0;
    shows |= listed;
    list.all[half] = full ? ~0u : 0u;
    list.bits[half] =
        listed && !full ? mask.bits + *bits_at + (key % mask.tile_kv) / kHalf : nullptr;
  }
  return shows;
}

inline uint64_t half_seen(const MaskList& list, int half, int offset) {
  return list.bits[half] != nullptr ? list.bits[half][offset] : list.all[half];
}

inline uint64_t mask_word(const MaskLists& mask, int row) {
  const MaskList& list = mask.lists[mask.list_of_row[row]];
  const int offset = mask.offset_of_row[row];
  return half_seen(list, 0, offset) | half_seen(list, 1, offset) << (kTileKeys / 2);
}

// Whether a row reads the same words as the one before, as the heads of one token may.
inline bool shows_same(const MaskLists& mask, int row) {
  return mask.list_of_row[row] == mask.list_of_row[row - 1] &&
         mask.offset_of_row[row] == mask.offset_of_row[row - 1];
}

// Whether the current keys are shown whole to every row.
inline bool shows_all(const MaskLists& mask) {
  for (int i = 0; i < mask.num_lists; ++i)
    if ((mask.lists[i].all[0] & mask.lists[i].all[1]) != ~0u) return false;
  return true;
}

// All of them. Returns whether one shows any of the keys.
inline bool move_lists(const MaskLists& mask, int start) {
  bool shows = false;
  for (int i = 0; i < mask.num_lists; ++i) shows |= move_list(mask, mask.lists[i], start);
  return shows;
}

// The first tile at or after `start` that a list has, or at least task.key_end.
inline int next_listed(const AttendTask& task, int start) {
  if (start >= task.key_end) return start;
  const MaskLists& mask = *task.block_mask;
  int64_t next = task.key_end;
  bool shows = false;
  for (int i = 0; i < mask.num_lists; ++i) {
    MaskList& list = mask.lists[i];
    shows |= move_list(mask, list, start);
    if (list.tile < list.tile_end && int64_t{*list.tile} * mask.tile_kv < next)
      next = int64_t{*list.tile} * mask.tile_kv;
  }
  if (shows) return start;
  if (next >= task.key_end) return task.key_end;
  const int found = static_cast<int>(next / kTileKeys * kTileKeys);
  move_lists(mask, found);
  return found;
}

// Sets the words of the rows whose ranges touch the tile, and what follows from them. No end falls
// from row to row, so the first and the last row say whether all of them see all of it.
inline void see(const AttendTask& task, SeenTile& tile) {
  tile.any = 0;
  tile.all = ~uint64_t{0};
  tile.first = tile.range_first;
  tile.last = tile.range_last;
  if (task.block_mask == nullptr && task.visible_begin[tile.last - 1] <= tile.start &&
      task.visible_end[tile.first] >= tile.start + kTileKeys) {
    tile.any = ~uint64_t{0};
    for (int row = tile.first; row < tile.last; ++row) tile.words[row] = ~uint64_t{0};
    return;
  }
  uint64_t shown = ~uint64_t{0};
  for (int row = tile.first; row < tile.last; ++row) {
    const int begin = larger(task.visible_begin[row] - tile.start, 0);
    const int end = smaller(task.visible_end[row] - tile.start, kTileKeys);
    if (task.block_mask != nullptr && (row == tile.first || !shows_same(*task.block_mask, row)))
      shown = mask_word(*task.block_mask, row);
    const uint64_t word = seen_between(begin, end) & shown;
    tile.words[row] = word;
    tile.any |= word;
    tile.all &= word;
  }
  if (tile.any == 0 || tile.all != 0) return;
  while (tile.words[tile.first] == 0) ++tile.first;
  while (tile.words[tile.last - 1] == 0) --tile.last;
  tile.all = ~uint64_t{0};
  for (int row = tile.first; row < tile.last; ++row) tile.all &= tile.words[row];
}

// Of the tile at `start`, to which the lists were moved. `tile` holds an earlier one. Returns
// whether some row sees a key.
inline bool see_at(const AttendTask& task, int start, SeenTile& tile) {
  int& first = tile.range_first;
  int& last = tile.range_last;
  while (first < task.num_rows && task.visible_end[first] <= start) ++first;
  while (last < task.num_rows && task.visible_begin[last] < start + kTileKeys) ++last;
  if (first >= last) return false;
  tile.start = start;
  see(task, tile);
  return tile.any != 0;
}

// The first tile at or after `start` of which some row sees a key; false: there is none. `tile`
// holds an earlier one.
inline bool find_seen(const AttendTask& task, int start, SeenTile& tile) {
  for (;; start += kTileKeys) {
    if (task.block_mask != nullptr) start = next_listed(task, start);
    if (start >= task.key_end) return false;
    if (see_at(task, start, tile)) return true;
  }
}

// The last tile at or before `start`, likewise. `tile` may hold any.
inline bool find_seen_before(const AttendTask& task, int start, SeenTile& tile) {
  for (; start >= task.key_begin; start -= kTileKeys) {
    if (task.block_mask != nullptr && !move_lists(*task.block_mask, start)) continue;
    tile.range_first = tile.range_last = 0;
    if (see_at(task, start, tile)) return true;
  }
  return false;
}

// That with the split's last key.
inline int last_tile(const AttendTask& task) {
  return (task.key_end - 1) / kTileKeys * kTileKeys;
}

}  // namespace pagoda::cpu::PAGODA_ISA

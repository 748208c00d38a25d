#include "mask_rows.h"

#include <algorithm>

namespace pagoda::cpu {
namespace {

struct Entries {
  int64_t begin, end;  // into mask.tile
  int64_t size() const { return end - begin; }
};

// Those of one list that have keys of [begin, end).
Entries entries_within(const mask::BlockMask& mask, int64_t list, int32_t begin, int32_t end) {
  const int32_t* first = mask.tile + mask.row_start[list];
  const int32_t* last = mask.tile + mask.row_start[list + 1];
  const int32_t end_tile = (end - 1) / mask.tile_kv + 1;
  first = std::lower_bound(first, last, begin / mask.tile_kv);
  last = std::lower_bound(first, last, end_tile);
  return {first - mask.tile, last - mask.tile};
}

}  // namespace

MaskLists lists_of(const MaskedRows& rows, const Scratch& scratch) {
  const mask::BlockMask& mask = rows.mask;
  const int32_t heads = rows.heads_of_group(), words = mask.tile_kv / 32;
  const int64_t first_tile = rows.first_tile();
  int64_t token = rows.first_row / rows.group;
  auto head = static_cast<int32_t>(rows.first_row % rows.group);
  for (int32_t row = 0; row < rows.num_rows; ++token, head = 0) {
    const auto list = static_cast<int32_t>(token / mask.tile_q - first_tile) * heads;
    const auto offset = static_cast<int32_t>(token % mask.tile_q) * words;
    for (; head < rows.group && row < rows.num_rows; ++head, ++row) {
      scratch.list_of_row[row] = list + (heads == 1 ? 0 : head);
      scratch.offset_of_row[row] = offset;
    }
  }
  return {.bits = mask.bits,
          .tile_kv = mask.tile_kv,
          .num_lists = static_cast<int32_t>(rows.end_tile() - first_tile) * heads,
          .lists = scratch.mask_lists,
          .list_of_row = scratch.list_of_row,
          .offset_of_row = scratch.offset_of_row,
          .halves = scratch.mask_halves};
}

bool narrow(const MaskedRows& rows, int32_t kv_head, int32_t begin, int32_t end,
            const MaskLists& lists) {
  const mask::BlockMask& mask = rows.mask;
  MaskList* list = lists.lists;
  bool any = false;
  for (int64_t tile = rows.first_tile(); tile < rows.end_tile(); ++tile)
    for (int32_t i = 0; i < rows.heads_of_group(); ++i) {
      const int64_t index = mask.list_of(rows.request, tile, rows.mask_head(kv_head, i));
      const Entries entries = entries_within(mask, index, begin, end);
      any |= entries.size() > 0;
      *list++ = {.first = mask.tile + entries.begin,
                 .tile = mask.tile + entries.begin,
                 .tile_end = mask.tile + entries.end,
                 .bits_at = mask.bits_at + entries.begin,
                 .bits = {},
                 .all = {}};
    }
  return any;
}

ListedWork listed_work(const MaskedRows& rows, KeyRange within) {
  const mask::BlockMask& mask = rows.mask;
  ListedWork work{.keys = {within.end, within.begin}, .pairs = 0, .num_keys = 0};
  if (within.empty()) return {.keys = {0, 0}, .pairs = 0, .num_keys = 0};
  const int64_t rows_of_tile = int64_t{mask.tile_q} * rows.group;
  for (int32_t head = 0; head < mask.num_heads; ++head)
    for (int64_t tile = rows.first_tile(); tile < rows.end_tile(); ++tile) {
      const Entries entries =
          entries_within(mask, mask.list_of(rows.request, tile, head), within.begin, within.end);
      if (entries.size() == 0) continue;
      const int64_t own_rows = std::min((tile + 1) * rows_of_tile, rows.first_row + rows.num_rows) -
                               std::max(tile * rows_of_tile, rows.first_row);
      const int64_t keys = entries.size() * mask.tile_kv;
      work.pairs += keys * own_rows;
      work.num_keys = std::max(work.num_keys, keys);
      work.keys.begin = std::min(work.keys.begin, mask.tile[entries.begin] * mask.tile_kv);
      const int64_t end = int64_t{mask.tile[entries.end - 1] + 1} * mask.tile_kv;
      work.keys.end = static_cast<int32_t>(std::max<int64_t>(work.keys.end, end));
    }
  work.pairs /= mask.num_heads;
  work.keys.begin = std::max(work.keys.begin, within.begin);
  work.keys.end = std::min(work.keys.end, within.end);
  return work;
}

}  // namespace pagoda::cpu

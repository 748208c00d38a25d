// Many rows: the keys and values of a pass are packed once, then 32 rows at a time go over them.
//
//     S^T [32 keys, 32 rows]      = packed keys x packed queries
//     O^T [32 columns, 32 rows]  += packed values x weights
//
// with four tiles of sums in both. Exponents of products pair up straight into the second operand
// of the other product, and O stays transposed until the rows are finished.
#pragma once

#include "amx_few.inl.h"
#include "amx_seen.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kPairRows = 2 * kGroupRows;

// A tile of keys that is packed.
struct PackedTile {
  int start;
  int units;
  uint64_t any;           // keys that some row of the task sees
  const char* keys;       // [kTileKeys / 16, chunks] tiles
  const char* values;     // [kUnits, 2 x chunks] tiles
  const int32_t* halves;  // [num_lists, 2] what lists show, or null where rows see their ranges
  bool finite;            // all values
  alignas(64) float key_scales[kTileKeys], value_scales[kTileKeys];
};

struct Pass {
  int count = 0;
  bool is_first;                 // states are not there yet
  PackedTile tiles[kPassTiles];  // in the order in which they are attended
};

inline TileScales scales_of(const AttendTask& task, const PackedTile& tile) {
  return {task.keys.scales != nullptr ? tile.key_scales : nullptr,
          task.values.scales != nullptr ? tile.value_scales : nullptr};
}

inline void pack_tile(const AttendTask& task, const AmxScratch& scratch, Tile& tile, int index,
                      const Tile* next, PackedTile& packed) {
  Upcoming upcoming(task, next);
  const int lines_beside = upcoming.total() / 6;  // at each of six places
  const int64_t key_bytes = int64_t{chunks_of(task.head_dim)} * kTileBytes;
  const int64_t value_bytes = int64_t{chunks_of(task.head_dim_v)} * 2 * kTileBytes;
  char* keys = scratch.keys + index * (kTileKeys / 16) * key_bytes;
  char* values = scratch.values + index * kUnits * value_bytes;
  packed.start = tile.start;
  packed.units = units_of(tile.end);
  packed.any = tile.seen.any;
  packed.halves = tile.halves;
  packed.keys = keys;
  packed.values = values;
  make_halves(task, scratch, packed.units, tile);
  for (int i = 0; i < 2 * packed.units; ++i) {
    upcoming.advance(lines_beside);
    pack_keys(tile.keys + 16 * i, task.head_dim, keys + i * key_bytes);
  }
  packed.finite = true;
  for (int i = 0; i < packed.units; ++i) {
    upcoming.advance(lines_beside);
    packed.finite &=
        pack_values(tile.values + kUnitKeys * i, task.head_dim_v, values + i * value_bytes);
  }
  upcoming.finish();
  gather(task.keys, tile.key_scales, packed.key_scales);
  gather(task.values, tile.value_scales, packed.value_scales);
}

// The words of a group's rows. Returns the number of rows, 0 if none of them sees a key.
inline void see_packed(const AttendTask& task, const PackedTile& tile, const Group& group,
                       Seen& seen) {
  const int last = group.first + group.rows - 1;
  if (tile.halves == nullptr && task.visible_begin[last] <= tile.start &&
      task.visible_end[group.first] >= tile.start + kTileKeys) {
    seen.any = seen.all = ~uint64_t{0};
    return;
  }
  uint64_t words[kGroupRows];
  for (int i = 0; i < group.rows; ++i) {
    const int row = group.first + i;
    words[i] = seen_between(larger(task.visible_begin[row] - tile.start, 0),
                            smaller(task.visible_end[row] - tile.start, kTileKeys));
    for (int half = 0; tile.halves != nullptr && half < 2; ++half) {
      const uint64_t hidden = ~half_shown(*task.block_mask, tile.halves, half, row);
      words[i] &= ~(hidden << half * kUnitKeys);
    }
  }
  see_group(words, group.rows, seen);
}

// Products of a unit with two groups of queries. scores: of the unit, of each group
inline void multiply_unit(const char* keys, const char* const (&queries)[2], int chunks,
                          float* const (&scores)[2]) {
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  clear_tile<3>();
  for (int c = 0; c < chunks; ++c) {
    load_tile<4>(keys + c * kTileBytes);
    load_tile<6>(queries[0] + c * kTileBytes);
    product<0, 4, 6>();
    load_tile<7>(queries[1] + c * kTileBytes);
    product<1, 4, 7>();
    load_tile<5>(keys + (chunks + c) * kTileBytes);
    product<2, 5, 6>();
    product<3, 5, 7>();
  }
  store_tile<0>(scores[0]);
  store_tile<1>(scores[1]);
  store_tile<2>(scores[0] + 16 * kGroupRows);
  store_tile<3>(scores[1] + 16 * kGroupRows);
}

// Sums that go on, or begin with zeros.
template <int kTile>
[[gnu::always_inline]] inline void load_sums(const float* from, bool is_blank) {
  if (is_blank) return clear_tile<kTile>();
  load_tile<kTile>(from);
}

// A chunk of 32 columns of o of two groups += values x weights over so many units. values: [units]
// of each unit's first column; weights: [units] tiles of each group; o: of the chunk, and whether
// it is not there yet
inline void accumulate_chunk(const char* const* values, int64_t offset,
                             const char* const (&weights)[2], int units, float* const (&o)[2],
                             bool is_blank) {
  load_sums<0>(o[0], is_blank);
  load_sums<1>(o[1], is_blank);
  load_sums<2>(o[0] + 256, is_blank);
  load_sums<3>(o[1] + 256, is_blank);
  for (int unit = 0; unit < units; ++unit) {
    stream_tile<4>(values[unit] + offset);
    load_tile<6>(weights[0] + unit * kTileBytes);
    product<0, 4, 6>();
    load_tile<7>(weights[1] + unit * kTileBytes);
    product<1, 4, 7>();
    stream_tile<5>(values[unit] + offset + kTileBytes);
    product<2, 5, 6>();
    product<3, 5, 7>();
  }
  store_tile<0>(o[0]);
  store_tile<1>(o[1]);
  store_tile<2>(o[0] + 256);
  store_tile<3>(o[1] + 256);
}

// All columns of o of two groups += values x weights of one unit, in units of each row's range.
// sums: [4] tiles
inline void accumulate_in_range(const char* values, int chunks, const char* const (&weights)[2],
                                const F32 (&range)[2], float* sums, float* const (&o)[2]) {
  for (int c = 0; c < chunks; ++c) {
    accumulate_chunk(&values, int64_t{c} * 2 * kTileBytes, weights, 1, {sums, sums + 512}, true);
    for (int g = 0; g < 2; ++g)
      for (int i = 0; i < 512; i += kWidth) {
        float* at = o[g] + c * 512 + i;
        store(at, fma(load(sums + g * 512 + i), range[g], load(at)));
      }
  }
}

inline void rescale_columns(F32 rescale, int chunks, float* o) {
  for (int i = 0; i < chunks * 512; i += kWidth) store(o + i, load(o + i) * rescale);
}

// Two groups of rows; the second repeats the first's place in a spare state if it has no rows.
struct PairOfGroups {
  Group group[2];
  const char* queries[2];
  int list = -1;          // of a block mask, that all rows read; -1: they read several
  bool is_blank = false;  // the outputs are zeros that nobody has written

  PairOfGroups(const AttendTask& task, const AmxScratch& scratch, int first)
      : group{group_of(task, first), {}},
        queries{queries_of(task, scratch, first), queries_of(task, scratch, first + kGroupRows)} {
    if (task.block_mask != nullptr)
      list = list_of_rows(*task.block_mask, first, smaller(kPairRows, task.num_rows - first));
    if (first + kGroupRows < task.num_rows) {
      group[1] = group_of(task, first + kGroupRows);
      return;
    }
    group[1] = {first, 0, scratch.spare, scratch.spare + kGroupRows,
                scratch.spare + 2 * kGroupRows};
    store(group[1].m, broadcast(0.0f));
  }
};

struct PairSeen {
  uint64_t any, all;
};

// What the lists show a pair of half a tile, as 32 bits.
inline PairSeen see_half(const AttendTask& task, const PackedTile& tile, const PairOfGroups& pair,
                         int half) {
  const int32_t at = pair.list < 0 ? 0 : tile.halves[2 * pair.list + half];
  if (at == kShowsAll) return {~0u, ~0u};
  if (at == kShowsNone) return {0, 0};
  PairSeen seen{0, ~0u};
  for (const Group& group : pair.group) {
    if (group.rows == 0) continue;
    const ListLanes lists{*task.block_mask, pair.list, group.first, group.rows};
    const __m512i words = lists.words(tile.halves, half);
    seen.any |= static_cast<uint32_t>(_mm512_reduce_or_epi32(words));
    seen.all &= static_cast<uint32_t>(_mm512_reduce_and_epi32(words));
  }
  return seen;
}

inline void clear(PairOfGroups& pair) {
  for (const Group& group : pair.group)
    if (group.rows > 0) clear_sums(group);
  pair.is_blank = true;
}

inline void write_blank(const AttendTask& task, PairOfGroups& pair) {
  if (!pair.is_blank) return;
  for (const Group& group : pair.group) clear_output(task, group);
  pair.is_blank = false;
}

// A unit of a tile, alone: what amx_run.inl.h does not take.
inline void attend_unit(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                        const PackedTile& tile, const PairOfGroups& pair, int unit,
                        const Seen (&seen)[2], float* const (&scores)[2]) {
  const int chunks_v = chunks_of(task.head_dim_v), first = unit * kUnitKeys;
  const char* values = tile.values + int64_t{unit} * chunks_v * 2 * kTileBytes;
  const char* const weights[2] = {scratch.weights, scratch.weights + kTileBytes};
  const float* value_scales = task.values.scales != nullptr ? tile.value_scales + first : nullptr;
  F32 range[2];
  bool is_exact = false;
  for (int g = 0; g < 2; ++g) {
    const Group& group = pair.group[g];
    hide(seen[g], first, kUnitKeys, scores[g]);
    range[g] = range_of(value_scales, seen[g], first);
    F32 rescale;
    if (weigh(group, logits, value_scales, seen[g], tile.start, first, range[g], scores[g],
              WeightsInPairs{scratch.weights + g * kTileBytes}, rescale, [] {}))
      rescale_columns(rescale, chunks_v, group.o);
    is_exact |= !tile.finite && group.rows > 0 && seen[g].all != tile.any;
  }
  if (is_exact) {
    for (int g = 0; g < 2; ++g)
      accumulate_exactly(pair.group[g], seen[g], unit, values, 2 * chunks_v, weights[g], range[g]);
    return;
  }
  if (kIsNarrow && value_scales != nullptr)
    return accumulate_in_range(values, chunks_v, weights, range, scratch.sums,
                               {pair.group[0].o, pair.group[1].o});
  for (int c = 0; c < chunks_v; ++c)
    accumulate_chunk(&values, int64_t{c} * 2 * kTileBytes, weights, 1,
                     {pair.group[0].o + c * 512, pair.group[1].o + c * 512}, false);
}

inline void see_both(const AttendTask& task, const PackedTile& tile, const PairOfGroups& pair,
                     Seen (&seen)[2]) {
  see_packed(task, tile, pair.group[0], seen[0]);
  if (pair.group[1].rows > 0) return see_packed(task, tile, pair.group[1], seen[1]);
  seen[1].any = seen[1].all = seen[0].any;
  if (!seen[0].is_uniform()) seen[1] = seen[0];
}

// The units [begin, end) of a tile.
inline void attend_units(const AttendTask& task, const Logits& logits, const AmxScratch& scratch,
                         const PackedTile& tile, const PairOfGroups& pair, int begin, int end) {
  const int chunks = chunks_of(task.head_dim);
  Seen seen[2];
  see_both(task, tile, pair, seen);
  float* const all[2] = {scratch.scores, scratch.scores + kTileKeys * kGroupRows};
  for (int unit = begin; unit < end; ++unit) {
    const int at = unit * kUnitKeys * kGroupRows;
    multiply_unit(tile.keys + int64_t{unit} * 2 * chunks * kTileBytes, pair.queries, chunks,
                  {all[0] + at, all[1] + at});
  }
  const int first = begin * kUnitKeys;
  TileScales scales = scales_of(task, tile);
  if (scales.keys != nullptr) scales.keys += first;
  for (int g = 0; g < 2 && !logits.are_products(); ++g)
    if (pair.group[g].rows > 0)
      make_logits(logits, pair.group[g], scales, tile.start + first, end - begin,
                  all[g] + first * kGroupRows);
  for (int i = begin; i < end; ++i) {
    const int unit = task.descends ? begin + end - 1 - i : i, at = unit * kUnitKeys * kGroupRows;
    attend_unit(task, logits, scratch, tile, pair, unit, seen, {all[0] + at, all[1] + at});
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

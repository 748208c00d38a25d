// Units of 32 keys on their way through the pipeline of few rows, and what its places have in
// common.
#pragma once

#include "amx_few.inl.h"
#include "amx_transpose.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kMaxPipelineRows = 2 * kGroupRows;
constexpr int kRing = 4;  // units on their way, with one that enters

struct FewUnit {
  TileRows keys[2], values[2];                   // of sixteen rows each
  bool whole;                                    // every row sees every key
  alignas(64) uint32_t words[kMaxPipelineRows];  // keys that a row sees, unless whole
};

// Units are counted from 0: those that have entered, and the one whose place is the first.
struct FewUnits {
  uint32_t entered = 0, now = 0;
  FewUnit ring[kRing];

  bool exists(uint32_t unit) const { return unit < entered; }  // of numbers below 0 too
  FewUnit& operator[](uint32_t unit) { return ring[unit % kRing]; }
  const FewUnit& operator[](uint32_t unit) const { return ring[unit % kRing]; }
};

// How much of some work goes beside each of the chunks.
inline int share_of(int work, int chunks) {
  return (work + chunks - 1) / chunks;
}

// Dimensions behind the last whole chunk of a unit's keys, with zeros behind them: [2] tiles
inline void copy_ends(const TileRows (&rows)[2], int dim, char* to) {
  const int first = dim / kChunkDims * kChunkDims;
  for (int i = 0; i < kUnitKeys; ++i, to += kTileRowBytes)
    _mm512_store_si512(to,
                       load_halves(rows[i / 16].first + i % 16 * rows[i / 16].stride, first, dim));
}
inline bool has_ends(int dim) {
  return dim % kChunkDims != 0;
}

// Sixteen rows of a chunk, from their place or from the copy of their ends.
[[gnu::always_inline]] inline TileRows chunk_of(const TileRows& rows, int chunk, int dim,
                                                const char* ends) {
  if (__builtin_expect((chunk + 1) * kChunkDims > dim, false)) return {ends, kTileRowBytes};
  return {rows.first + chunk * kTileRowBytes, rows.stride};
}

// What a group's rows see of a unit.
inline void see_unit(const FewUnit& unit, const Group& group, Seen& seen) {
  uint64_t words[kGroupRows];
  for (int r = 0; r < kGroupRows; ++r)
    words[r] = unit.whole ? ~uint32_t{0} : unit.words[group.first + r];
  see_group(words, group.rows, seen);
}

// Values of a unit as the products of many rows take them.
inline void pack_unit(const FewUnit& unit, int head_dim_v, char* to) {
  const char* rows[kUnitKeys];
  for (int i = 0; i < kUnitKeys; ++i)
    rows[i] = unit.values[i / 16].first + i % 16 * unit.values[i / 16].stride;
  pack_values(rows, head_dim_v, to);
}

// Where the pipeline keeps what it makes of a unit.
class FewPlaces {
 public:
  FewPlaces(const AttendTask& task, const AmxScratch& scratch)
      : scratch_(scratch),
        chunks_(chunks_of(task.head_dim)),
        chunks_v_(chunks_of(task.head_dim_v)) {}

  int chunks() const { return chunks_; }
  int chunks_v() const { return chunks_v_; }

  // Copies of rows that cannot be used as they lie.
  char* keys(uint32_t unit) const { return part(scratch_.keys, chunks_, unit % kRing); }
  char* values(uint32_t unit) const { return part(scratch_.values, chunks_v_, unit % kRing); }
  char* key_ends(uint32_t unit) const {
    return part(scratch_.keys, chunks_, kRing) + unit % kRing * 2 * kTileBytes;
  }
  char* pairs(uint32_t unit) const { return part(scratch_.values, chunks_v_, kRing + (unit & 1)); }
  char* packed_values() const {
    return scratch_.keys + int64_t{kPassKeys / 32} * chunks_ * kTileBytes;
  }
  char* second_operand() const { return reinterpret_cast<char*>(scratch_.run_scores); }

 private:
  static char* part(char* all, int chunks, uint32_t index) {
    return all + int64_t{index} * 2 * chunks * kTileBytes;
  }

  const AmxScratch& scratch_;
  const int chunks_, chunks_v_;
};

}  // namespace pagoda::cpu::PAGODA_ISA

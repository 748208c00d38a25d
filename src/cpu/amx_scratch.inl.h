// What a task with tiles needs of its thread's memory, in the order in which it lies there.
#pragma once

#include "amx_convert.inl.h"
#include "amx_softmax.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Keys that are packed before any row looks at them. With their values they fill about half of a
// second-level cache, and every 32 rows read them once.
constexpr int kPassKeys = 1024;
constexpr int kPassTiles = kPassKeys / kTileKeys;

// Rows that use keys and values as they lie, at most: for more, packing them costs less than what
// it saves. Changes speed, never results.
constexpr int kMaxFewRows = 64;

struct AmxScratch {
  char* keys;              // [kPassKeys / 16, chunks of head_dim] tiles
  char* values;            // [kPassKeys / 32, 2 x chunks of head_dim_v] tiles
  float* scores;           // [2, kTileKeys, 16]
  uint32_t* rounded;       // [kUnitKeys, 16]
  const char* zeros;       // [2 x chunks of head_dim_v] tiles
  float* run_scores;       // [2, 2, kUnitKeys, 16]
  char* weights;           // [2, 2, 4] tiles
  float* sums;             // [at least 4, 2 x chunks of head_dim_v] tiles: products of few rows
  float* outputs;          // [kMaxFewRows / 16, 2 x chunks of head_dim_v] tiles: o of few rows
  float* spare;            // m and l of 16 rows that do not exist, [2, 16]; then their o
  char* queries;           // [padded rows / 16, chunks of head_dim] tiles
  float* query_units;      // [padded rows] what they are multiplied by to be the caller's
  char* query_parts;       // [head_dim / 64, 2] tiles: of up to 16 rows that are whole
  char* converted_keys;    // [kTileKeys] rows of the tiles' element, of a tile of codes
  char* converted_values;  // [kTileKeys] likewise
  int64_t size = 0;

  // Null memory: only counts.
  AmxScratch(void* memory, int head_dim, int head_dim_v, int num_rows) {
    const auto take = [&](int64_t bytes) {
      char* it = memory != nullptr ? static_cast<char*>(memory) + size : nullptr;
      size += (bytes + 63) / 64 * 64;
      return it;
    };
    const int64_t key_chunks = chunks_of(head_dim), value_tiles = 2 * chunks_of(head_dim_v);
    const int64_t groups = round_up(num_rows, 2 * kGroupRows) / kGroupRows;
    keys = take(kPassKeys / 16 * key_chunks * kTileBytes);
    values = take(kPassKeys / kUnitKeys * value_tiles * kTileBytes);
    scores = reinterpret_cast<float*>(take(2 * kTileKeys * kTileRowBytes));
    rounded = reinterpret_cast<uint32_t*>(take(kUnitKeys * kTileRowBytes));
    zeros = take(value_tiles * kTileBytes);
    run_scores = reinterpret_cast<float*>(take(4 * kUnitKeys * kTileRowBytes));
    weights = take(4 * 4 * kTileBytes);
    sums =
        reinterpret_cast<float*>(take(larger(4, 2 * static_cast<int>(value_tiles)) * kTileBytes));
    outputs = reinterpret_cast<float*>(take(kMaxFewRows / kGroupRows * value_tiles * kTileBytes));
    spare = reinterpret_cast<float*>(take(2 * kTileRowBytes + value_tiles * kTileBytes));
    queries = take(groups * key_chunks * kTileBytes);
    query_units = reinterpret_cast<float*>(take(groups * kTileRowBytes));
    query_parts = take(key_chunks * kTileBytes);
    converted_keys = take(kTileKeys * converted_bytes(head_dim));
    converted_values = take(kTileKeys * converted_bytes(head_dim_v));
  }
};

inline Group group_of(const AttendTask& task, int first) {
  const int64_t stride = int64_t{kChunkDims} * chunks_of(task.head_dim_v) * kGroupRows;
  return {first, smaller(task.num_rows - first, kGroupRows), task.state.m + first,
          task.state.l + first, task.state.o + first / kGroupRows * stride};
}

inline const char* queries_of(const AttendTask& task, const AmxScratch& scratch, int first) {
  return scratch.queries + int64_t{first / kGroupRows} * chunks_of(task.head_dim) * kTileBytes;
}

inline void clear_sums(const Group& group) {
  store(group.m, broadcast(kMinusInfinity));
  store(group.l, broadcast(0.0f));
}

inline void clear_output(const AttendTask& task, const Group& group) {
  const int64_t floats = int64_t{kChunkDims} * chunks_of(task.head_dim_v) * kGroupRows;
  for (int64_t i = 0; i < floats; i += kWidth) store(group.o + i, broadcast(0.0f));
}

inline void clear(const AttendTask& task, const Group& group) {
  clear_sums(group);
  clear_output(task, group);
}

inline void clear(const AttendTask& task) {
  for (int first = 0; first < task.num_rows; first += kGroupRows)
    clear(task, group_of(task, first));
}

// Keys and values of a tile as the tiles' element.
inline void make_halves(const AttendTask& task, const AmxScratch& scratch, int units, Tile& tile) {
  const int count = units * kUnitKeys;
  make_halves(task.key_element, tile.keys, count, task.head_dim, scratch.converted_keys, [] {});
  make_halves(task.value_element, tile.values, count, task.head_dim_v, scratch.converted_values,
              [] {});
}

}  // namespace pagoda::cpu::PAGODA_ISA

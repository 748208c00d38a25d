// The arrays that one thread needs to attend a tile of rows, laid out in its part of the workspace.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../plan/problem.h"
#include "kernels.h"

namespace pagoda::cpu {

constexpr int64_t round_up(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Sizes that follow from a problem and a kernel.
struct Geometry {
  int32_t head_dim, head_dim_v;
  int32_t padded_dim_v;  // columns of a row of o
  int32_t max_rows;      // rows of a tile; a multiple of kRowPadding
  int32_t max_lists;     // of a block mask that so many rows may read
  int32_t row_group;     // of a state
  int64_t own_bytes;     // of a kernel with scratch of its own, otherwise 0

  Geometry(const Problem& problem, const Kernels& kernels);

  // Floats of a State of so many rows.
  int64_t state_floats(int64_t num_rows) const {
    return 2 * round_up(num_rows, kRowPadding) + round_up(num_rows, row_group) * padded_dim_v;
  }
  // Of one row and its first column; the next columns are row_group floats apart.
  int64_t output_offset(int64_t row) const {
    return row / row_group * row_group * padded_dim_v + row % row_group;
  }
  State state_at(float* memory, int64_t num_rows) const {
    const int64_t padded = round_up(num_rows, kRowPadding);
    return {memory, memory + padded, memory + 2 * padded};
  }
};

struct Scratch {
  float* queries;           // [max_rows, head_dim], null with bytes of the kernel's own
  const char** query_rows;  // [max_rows] where the caller has them
  void** results;           // [max_rows] where the caller wants them
  float* query_scale;       // [max_rows]
  int32_t* visible_begin;   // [max_rows]
  int32_t* visible_end;     // [max_rows]
  int32_t* position;        // [max_rows]
  int32_t* token;           // [max_rows] of the step
  int64_t* slot;            // [max_rows] where the row's states are left and taken up
  float* slope;             // [max_rows]
  uint64_t* seen;           // [2, max_rows]
  MaskList* mask_lists;     // [max_lists]
  int32_t* mask_halves;     // [kListedTiles, max_lists, 2]
  int32_t* list_of_row;     // [max_rows]
  int32_t* offset_of_row;   // [max_rows]
  float* rescale;           // [max_rows]
  float* scores;            // [max_rows, kTileKeys]
  float* packed_keys;       // [kTileKeys, head_dim]
  float* packed_values;     // [kTileKeys, padded_dim_v]
  std::byte* own;           // [own_bytes]
  float* total;             // a State of max_rows
  float* part;              // a State of max_rows

  // Bytes of one thread, a multiple of WorkspaceMap::kAlignment.
  static size_t size(const Geometry& geometry);
  static Scratch at(std::byte* memory, const Geometry& geometry);
};

}  // namespace pagoda::cpu

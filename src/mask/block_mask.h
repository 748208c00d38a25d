// A mask as data: for each tile of queries, the tiles of keys that it sees. Made once per step from
// an expression, read by every layer; attention never hears of the expression.
//
// Tiles of queries never span two requests: request r owns the tiles [tile_start[r],
// tile_start[r + 1]), which cover its queries of this step from the first on. Tiles of keys count
// positions in the sequence, whatever pages the keys lie in. The classification is exact: a tile
// that is not listed has no visible pair, one listed without bits has no hidden pair among the
// queries and keys that exist. So the content is a function of the mask and the step alone, not of
// how it was found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagoda::mask {

struct BlockMask {
  int32_t tile_q = 0, tile_kv = 0;
  int32_t num_reqs = 0;
  int32_t num_tiles_q = 0;
  // 1: the same for all; num_kv_heads; or num_heads. Head h of H has the lists h * num_heads / H.
  int32_t num_heads = 0;
  const int32_t* tile_start = nullptr;  // [num_reqs + 1]; null: there is no mask
  // [num_heads * num_tiles_q + 1] into the two below; a row is the list of one tile of queries.
  const int32_t* row_start = nullptr;
  const int32_t* tile = nullptr;     // [num_entries] tiles of keys, ascending within a row
  const int32_t* bits_at = nullptr;  // [num_entries] first word of its bits; -1: all visible
  // [num_words]: of a tile [queries that exist, tile_kv / 32]; bit i of a row's word w is key
  // tile * tile_kv + 32 * w + i. Keys that do not exist have 0.
  const uint32_t* bits = nullptr;
  int64_t num_entries = 0, num_words = 0;

  explicit operator bool() const { return tile_start != nullptr; }

  // The list of one tile of queries, counted within the request, under one head of the mask.
  int64_t list_of(int32_t request, int64_t tile_of_request, int32_t mask_head) const {
    return int64_t{mask_head} * num_tiles_q + tile_start[request] + tile_of_request;
  }
};

// The requests of one step, as in pagoda_batch.
struct Step {
  int32_t num_reqs;
  const int32_t* query_start_loc;  // [num_reqs + 1], first is 0, never falls
  const int32_t* seq_lens;         // [num_reqs], this step's tokens included; 0: padding
};

// How large the arrays of a block mask are.
struct Capacity {
  int64_t reqs = 0;     // of tile_start, less one
  int64_t rows = 0;     // of row_start, less one
  int64_t entries = 0;  // of tile and of bits_at
  int64_t words = 0;    // of bits

  bool operator==(const Capacity&) const = default;
  size_t bytes() const;
  bool holds(const Capacity& need) const;
};

// The caller's memory, aligned to 64 bytes, of at least capacity.bytes().
struct Memory {
  void* data = nullptr;
  Capacity capacity;
};

// Where the arrays lie in a Memory: in the order of BlockMask, each aligned to 64 bytes.
struct MemoryMap {
  explicit MemoryMap(const Memory& memory);

  int32_t* tile_start;
  int32_t* row_start;
  int32_t* tile;
  int32_t* bits_at;
  uint32_t* bits;
};

}  // namespace pagoda::mask

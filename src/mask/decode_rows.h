// What is remembered of a request with few queries. While its sequence grows within one tile of
// keys, analysis over all the positions to come proves most tiles empty or full for good; the few
// that it cannot decide are evaluated at each step, one row of bits per query.
#pragma once

#include <vector>

#include "tile_decider.h"
#include "tile_writer.h"

namespace pagoda::mask {

inline constexpr int32_t kMaxDecodeQueries = 16;  // more are built from nothing

class DecodeRows {
 public:
  DecodeRows(int32_t tile_kv, int64_t num_rows);

  struct Request {
    int64_t row;  // in [0, num_rows)
    Point point;  // every variable but q and k
    int64_t seq_len, query_len;
    uint64_t generation;  // of the bindings
  };

  // `kept`: the memory of the writer still holds what the step before wrote.
  void begin_step(bool kept);

  // Appends the row of `request`, whose queries are one tile. Returns false, having written
  // nothing, if the mask changes in more tiles than are worth remembering.
  bool write(const Request& request, TileDecider& decider, TileWriter& writer);

 private:
  static constexpr int kMaxRuns = 48;
  static constexpr int kMaxVolatile = 32;

  struct Run {
    int32_t first, end;             // tiles
    bool is_volatile;               // one tile, evaluated each step; otherwise all full
    Pruning pruning;                // of a volatile tile
    uint32_t bits[kMaxLanes / 32];  // if pruning.same_rows: of every row, keys to come included
  };

  struct Row {
    int64_t first_query = 0, end_query = 0;  // positions that the runs hold for; none at first
    int64_t query_len = 0;
    uint64_t generation = 0;
    int32_t num_runs = 0;  // -1: too many
    // What was written last, and in which step.
    uint64_t step = 0;
    uint64_t outcome = 0;  // two bits per volatile tile, a Truth
    int64_t first_entry = 0, first_word = 0, entries = 0;
    Run runs[kMaxRuns];
  };

  bool covers(const Row& row, const Request& request) const;
  void analyse(const Request& request, TileDecider& decider, Row& row) const;
  uint64_t evaluate(const Request& request, const Row& row, TileDecider& decider);
  void emit(const Row& row, uint64_t outcome, int64_t words, TileWriter& writer) const;

  const int32_t tile_kv_;
  uint64_t step_ = 1;
  bool kept_ = false;
  std::vector<Row> rows_;
  std::vector<uint32_t> bits_;  // [kMaxVolatile, kMaxDecodeQueries, tile_kv / 32], partial ones
  int64_t num_words_ = 0;       // of bits_ in use
};

}  // namespace pagoda::mask

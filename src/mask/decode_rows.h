// What is remembered of a request with few queries. While its sequence grows within one tile of
// keys, analysis over all the positions to come proves most tiles empty or full for good. Of the
// few that it cannot decide, most show every query the same keys, or the same keys as seen from it:
// their bits are found once and cut out at each step. What is left is evaluated at each step.
#pragma once

#include <vector>

#include "tape.h"
#include "tile_decider.h"
#include "tile_writer.h"

namespace pagoda::mask {

inline constexpr int32_t kMaxDecodeQueries = 16;  // more are built from nothing

class DecodeRows {
 public:
  DecodeRows(int32_t tile_kv, int64_t num_rows);

  // Its queries are one tile.
  struct Request {
    int64_t row;  // in [0, num_rows)
    int64_t seq_len, query_len;
    uint64_t generation;  // of the bindings
  };

  // `kept`: the memory of the writer still holds what the step before wrote.
  void begin_step(bool kept);

  // Appends the row of `request` if all that it needs is remembered; false: nothing written.
  bool write_known(const Request& request, TileWriter& writer);

  // The same, analysing and evaluating what it takes; `point` has every variable but q and k.
  // Returns false, having written nothing, if the mask changes in more tiles than are worth
  // remembering.
  bool write(const Request& request, const Point& point, TileDecider& decider, TileWriter& writer);

 private:
  static constexpr int kMaxRuns = 64;
  static constexpr int kMaxTiles = 40;
  static constexpr int kMaxGeneral = 16;

  struct Run {
    int32_t first, end;  // tiles
    bool is_full;        // otherwise the next of the undecided ones
  };

  enum class Kind : uint8_t {
    still,    // every query sees the same keys
    sliding,  // the keys at the same distances
    general,  // evaluated at each step
  };

  struct Tile {
    int32_t tile;
    Kind kind;
    bool is_fixed;    // still, or sliding: it shows as much in every step
    bool is_partial;  // if it is fixed
  };

  struct Row {
    int64_t first_query = 0, end_query = 0;  // positions that the rest holds for; none at first
    int64_t query_len = 0;
    uint64_t generation = 0;
    int32_t num_runs = 0;  // -1: too many
    int32_t num_tiles = 0;
    int32_t num_general = 0;
    uint64_t fixed_shown = 0, fixed_hidden = 0;  // bit per tile that is fixed, as below
    // What was written last, and in which step.
    uint64_t step = 0;
    uint64_t shown = 0, hidden = 0;  // bit per tile: some pair is
    int64_t first_entry = 0, first_word = 0, entries = 0, words = 0;
    Tile tiles[kMaxTiles];
    Run runs[kMaxRuns];
    Pruning prunings[kMaxGeneral];  // of the general tiles, in order
  };

  struct Seen {
    uint64_t shown = 0, hidden = 0;  // not 0: some key is
  };

  struct Filled {
    bool fits;
    uint64_t shown, hidden;
    int64_t words;
  };

  bool covers(const Row& row, const Request& request) const;
  uint32_t* tape_of(const Row& row, int tile);

  void analyse(const Request& request, const Point& point, TileDecider& decider, Row& row);
  void find_kinds(Row& row, const Pruning* prunings) const;
  void lay_tapes(const Point& point, const Pruning* prunings, TileDecider& decider, Row& row);
  void fix(Row& row, int index, const uint32_t* tape, int64_t count) const;
  void evaluate_general(const Request& request, const Point& point, TileDecider& decider,
                        const Row& row);

  void append(Row& row, const Request& request, TileWriter& writer);
  Filled fill(const Row& row, const Request& request, bool in_place, uint32_t* out, int64_t room);
  template <size_t kWords>
  Filled fill_words(const Row& row, const Request& request, bool in_place, uint32_t* out,
                    int64_t room);
  template <size_t kWords>
  Seen cut_rows(const Row& row, const Request& request, const Tile& tile, const uint32_t* from,
                uint32_t* bits) const;
  void emit(const Row& row, int64_t words, TileWriter& writer) const;

  const int32_t tile_kv_;
  const int32_t tape_stride_;
  uint64_t step_ = 1;
  bool kept_ = false;
  std::vector<Row> rows_;
  std::vector<uint32_t> tapes_;  // [rows, kMaxTiles, tape_stride] and one; of still tiles: one row
  std::vector<uint32_t> bits_;   // [kMaxTiles, kMaxDecodeQueries, tile_kv / 32], partial ones
  std::vector<uint32_t> general_;  // [kMaxGeneral, kMaxDecodeQueries, tile_kv / 32] and two
};

}  // namespace pagoda::mask

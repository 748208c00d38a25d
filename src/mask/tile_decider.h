// Finds the tiles of one row of tiles: analysis first, on stretches of tiles that are halved while
// they stay undecided; then a single undecided tile is divided once more and what is left of it
// evaluated into bits.
#pragma once

#include <vector>

#include "analyzer.h"
#include "block_mask.h"
#include "rows.h"

namespace pagoda::mask {

// Bits of one tile: [queries that exist, tile_kv / 32].
struct TileBits {
  Truth truth;
  const uint32_t* bits;  // valid if undecided, until the next tile
  int64_t words;
};

class TileDecider {
 public:
  // With a shard, tiles and keys are counted among those of the shard, and the program is one for
  // dealt keys; queries are positions all the same.
  TileDecider(const Program& program, const Bindings& bindings, int32_t tile_q, int32_t tile_kv,
              const Shard& shard = {});

  // One request and head, as for Analyzer and RowEvaluator.
  void set_request(const Box& box, const Point& point);
  void set_point(const Point& point) { rows_.set_request(point); }  // for evaluate() alone

  // Calls full(first_tile, end_tile) and undecided(tile) for the tiles [0, ceil(num_keys /
  // tile_kv)) in ascending order. Queries are those of one tile, both ends included.
  template <class Full, class Undecided>
  void visit(int64_t first_query, int64_t last_query, int64_t num_keys, const Full& full,
             const Undecided& undecided) {
    first_query_ = first_query;
    last_query_ = last_query;
    num_keys_ = num_keys;
    analyzer_.set_queries(first_query, last_query);
    const int64_t tiles = (num_keys + tile_kv_ - 1) / tile_kv_;
    if (tiles > 0) descend(0, tiles, full, undecided);
  }

  // Within `undecided`: the truth about the tile, exactly.
  TileBits resolve(int64_t tile);

  // The end of the queries, from `first` to at most `end`, over which whatever does not depend on
  // keys stands still or is linear; at least `shortest` of them, as far as there are.
  int64_t steady_end(int64_t first, int64_t end, int64_t shortest);

  // Within `undecided`: what evaluation of the tile may leave out.
  Pruning pruning() const {
    Pruning pruning = analyzer_.pruning();
    pruning.same_distance &= shard_.is_whole();  // neighbours are not one position apart
    return pruning;
  }

  // The same by evaluation alone, for one tile of `num_queries` from `first_query` on and keys
  // below `num_keys`, all of them within the box of `pruning`.
  TileBits evaluate(int64_t tile, int64_t first_query, int64_t num_queries, int64_t num_keys,
                    const Pruning& pruning);

  // Rows of one tile, [tile_kv / 32], whatever keys exist.
  void set_tile(int64_t tile, const Pruning& pruning) {
    rows_.set_keys(tile * tile_kv_, tile_kv_, pruning);
  }
  void evaluate_row(int64_t query, uint32_t* bits) { rows_.mask_row(query, bits); }

  bool uses(Variable which) const { return program_.uses(which); }

  // How many stretches were analysed, and single tiles evaluated, so far.
  int64_t num_analysed = 0;
  int64_t num_evaluated = 0;

 private:
  template <class Full, class Undecided>
  void descend(int64_t first, int64_t count, const Full& full, const Undecided& undecided);

  void divide(int64_t tile);
  void evaluate_part(int64_t first_query, int64_t last_query, int64_t first_key);
  void evaluate_tape(int64_t first_query, int64_t num_queries, int64_t valid);
  TileBits classify(int64_t tile, int64_t num_queries, int64_t num_keys);

  Truth decide(int64_t first_key, int64_t last_key);

  const Program& program_;
  const int32_t tile_kv_;
  const Shard shard_;
  Analyzer analyzer_;
  RowEvaluator rows_;
  std::vector<uint32_t> bits_;  // [tile_q, tile_kv / 32]
  int64_t first_query_ = 0, last_query_ = 0, num_keys_ = 0;
};

template <class Full, class Undecided>
void TileDecider::descend(int64_t first, int64_t count, const Full& full,
                          const Undecided& undecided) {
  ++num_analysed;
  const int64_t end_key = std::min((first + count) * tile_kv_, num_keys_);
  const Truth truth = decide(first * tile_kv_, end_key - 1);
  if (truth == Truth::empty) return;
  if (truth == Truth::full) return full(first, first + count);
  if (count == 1) return undecided(first);
  // Of few tiles halves would not ask less.
  constexpr int64_t kFew = 4;
  if (count <= kFew) {
    for (int64_t tile = first; tile < first + count; ++tile) descend(tile, 1, full, undecided);
    return;
  }
  // Halves at powers of two keep the stretches aligned with groups of tables.
  int64_t half = 1;
  while (2 * half < count) half *= 2;
  descend(first, half, full, undecided);
  descend(first + half, count - half, full, undecided);
}

}  // namespace pagoda::mask

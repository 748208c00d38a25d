// In which order amx_run.inl.h takes the units of a pass: those that a pair of groups sees, in the
// task's order of keys, then those of the next pair.
#pragma once

#include "amx_beside.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// A unit and a pair of groups.
struct PairUnit {
  const PackedTile* tile;
  PairOfGroups* pair;
  int unit;
  int left;        // units that the pair goes on for, this one included; a guess
  bool is_hidden;  // some row does not see all of it
  bool is_alone;   // cannot be taken into the stream
};

// The units that each pair of groups sees, one after the other.
class UnitStream {
 public:
  UnitStream(const AttendTask& task, const AmxScratch& scratch, const Pass& pass)
      : task_(task),
        scratch_(scratch),
        pass_(pass),
        pairs_{{task, scratch, 0}, {task, scratch, 0}} {
    begin_pair();
  }

  // What it gave before stays valid for one more call.
  bool next(PairUnit& to) {
    while (unit_ == units_)
      if (!next_tile()) return false;
    const PackedTile& tile = pass_.tiles[tile_ - 1];
    constexpr uint64_t kAll = (uint64_t{1} << kUnitKeys) - 1;
    const int unit = task_.descends ? --units_ : unit_++, first = unit * kUnitKeys;
    const bool is_hidden = (seen_.all >> first & kAll) != kAll;
    to.tile = &tile;
    to.pair = &pairs_[place_];
    to.unit = unit;
    to.left = tile.halves != nullptr ? left_of_lists() : left(first);
    to.is_hidden = is_hidden;
    to.is_alone = is_alone_;
    is_given_ = true;
    return true;
  }

 private:
  int last_row() const { return smaller(row_ + kPairRows, task_.num_rows) - 1; }

  void begin_pair() {
    if (pass_.is_first) clear(pairs_[place_]);
    is_given_ = false;
  }

  bool next_pair() {
    if (!is_given_) write_blank(task_, pairs_[place_]);
    tile_ = 0;
    row_ += kPairRows;
    if (row_ >= task_.num_rows) return false;
    if (is_given_) place_ ^= 1;  // a pair that was given stays for one more
    pairs_[place_] = PairOfGroups(task_, scratch_, row_);
    begin_pair();
    return true;
  }

  bool next_tile() {
    if (tile_ == pass_.count && !next_pair()) return false;
    const PackedTile& tile = pass_.tiles[tile_++];
    unit_ = units_ = 0;
    seen_ = see(tile);
    if (seen_.any == 0) return true;
    unit_ = __builtin_ctzll(seen_.any) / kUnitKeys;
    units_ = units_of(kTileKeys - __builtin_clzll(seen_.any));
    is_alone_ = !tile.finite && seen_.all != tile.any;
    end_ = end_of_pair() - tile.start;
    return true;
  }

  // Of ranges, whose ends never fall from row to row, what lies between those of different rows
  // counts as seen: there all weights are 0.
  PairSeen see(const PackedTile& tile) const {
    const int first = row_, last = last_row();
    const auto between = [&](int begin, int end) {
      return seen_between(larger(task_.visible_begin[begin] - tile.start, 0),
                          smaller(task_.visible_end[end] - tile.start, kTileKeys));
    };
    PairSeen seen{between(first, last), between(last, first)};
    if (tile.halves == nullptr || seen.any == 0) return seen;
    for (int half = 0; half < 2; ++half) {
      const PairSeen shown = see_half(task_, tile, pairs_[place_], half);
      const uint64_t other = half == 0 ? ~uint64_t{0} << kUnitKeys : ~uint32_t{0};
      seen.any &= shown.any << half * kUnitKeys | other;
      seen.all &= shown.all << half * kUnitKeys | other;
    }
    return seen;
  }

  // Where the keys of the pass end that the pair sees: the last of them, or the first if the units
  // descend.
  int end_of_pair() const {
    const int last = pass_.tiles[pass_.count - 1].start;
    if (task_.descends) return larger(task_.visible_begin[row_], last);
    return smaller(task_.visible_end[last_row()], last + kTileKeys);
  }

  // From the unit of key number `first` of the tile on.
  int left(int first) const {
    return larger(1, units_of(task_.descends ? first + kUnitKeys - end_ : end_ - first));
  }

  // Up to a batch of them.
  int left_of_lists() const {
    const int list = pairs_[place_].list;
    int units = units_ - unit_ + 1;
    for (int i = tile_; list >= 0 && i < pass_.count && units < kBatchUnits; ++i) {
      const int32_t* halves = pass_.tiles[i].halves;
      for (int half = 0; half < 2; ++half)
        units += halves == nullptr || halves[2 * list + half] != kShowsNone;
    }
    return list < 0 ? kBatchUnits : units;
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const Pass& pass_;
  PairOfGroups pairs_[2];
  int place_ = 0;
  bool is_given_ = false;
  int row_ = 0, tile_ = 0;
  int unit_ = 0, units_ = 0;  // of the tile, still to come: [unit_, units_)
  int end_ = 0;               // end_of_pair from the tile's start on
  PairSeen seen_{};
  bool is_alone_ = false;
};

}  // namespace pagoda::cpu::PAGODA_ISA

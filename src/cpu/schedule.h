// Who computes what in a step: the list of work items that the threads of attend share.
//
// An item is a tile of rows over a range of their keys, for each head of keys: rows of one request
// over what is its own, or of a group of requests over pages that they share (cascade.h). Where
// there are enough items for the threads, an item holds all splits of its rows and merges them as
// it goes; where there are few, the splits are dealt out, the state of each is kept, and whoever
// finishes the last one merges them in order. A row's bits are the same in every way.
//
// Items come in levels: those of one go on with states that the levels before have left.
#pragma once

#include "../backend/backend.h"
#include "../core/splits.h"
#include "cascade.h"
#include "scratch.h"

namespace pagoda::cpu {

struct Item {
  int64_t cost;       // in query-key pairs, roughly
  int64_t states;     // offset of the tile's states in the region of parts; below 0: none
  int64_t first_row;  // rows are query tokens x group, the group innermost
  int32_t request;    // the rows' own, or one of the group, for its pages
  int32_t group;      // whose tokens the rows are; below 0: the request's
  int32_t num_rows;
  int32_t key_begin, key_end;      // beyond what the rows see, at most
  int32_t split_begin, split_end;  // this item's
  int32_t tile_begin, tile_end;    // all splits of the tile
  int32_t pieces;                  // items that share the tile
  int32_t ticket;                  // of the tile's first head; counts finished items
  int32_t level;

  bool resumes() const { return key_begin > 0; }  // with what a level before has left
  bool leaves() const { return group >= 0; }      // states for a level behind
};

struct ScheduleHeader {
  int32_t num_levels;
  int32_t level_end[kMaxLevels + 1];  // items [level_end[l - 1], level_end[l]) are those of level l
  CascadeSummary summary;
};

// What the schedule of a step holds, in the regions that add_schedule_regions adds.
struct Schedule {
  ScheduleHeader* header;  // [1]
  Item* items;             // [max_items]
  uint32_t* tickets;       // [max tickets] all 0 between calls
  float* parts;            // [max_part_floats]
  std::byte* scratch;      // [num_threads] x Scratch::size
  std::byte* score;        // [num_threads] x ScoreRows::bytes

  explicit Schedule(const Prepared& prepared);
};

// The splits of every request of this backend. Forced or automatic, they follow from its length.
SplitRule split_rule(const Problem& problem, const Kernels& kernels);

void add_schedule_regions(const Problem& problem, const Geometry& geometry, int num_threads,
                          WorkspaceMap& map);

// Fills the schedule of a checked batch. Allocates nothing.
void make_schedule(const Prepared& prepared, const Kernels& kernels, const Geometry& geometry,
                   int num_threads);

}  // namespace pagoda::cpu

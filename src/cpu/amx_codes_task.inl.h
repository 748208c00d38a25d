// Which tasks decode over 8-bit codes serves, and how it goes through their tiles: those that rows
// see whole in stages (amx_codes.inl.h), others as few rows do (amx_few.inl.h).
#pragma once

#include "amx_codes.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

inline bool serves_codes(const AttendTask& task) {
  return task.num_rows <= kMostRowsOfCodes && task.softcap == 0 && task.bias == Bias::none &&
         task.score.apply == nullptr && is_code(task.key_element) &&
         (task.head_dim == 64 || task.head_dim == 128 || task.head_dim == 256) &&
         task.head_dim_v == task.head_dim;
}

// Where the state of a task's rows stands.
enum class Place { blank, state, outputs, codes };

// A task's tiles, each in the way that it goes; the state is moved to where that way has it.
template <class Keys, class Values, int kChunks, int kRows>
class CodesTask {
 public:
  CodesTask(const AttendTask& task, const AmxScratch& scratch)
      : task_(task),
        scratch_(scratch),
        logits_(task, scratch.query_units),
        group_(group_of(task, 0)),
        outputs_(outputs_of(task, scratch, group_)),
        decode_(task, logits_, scratch),
        place_(task.continues ? Place::state : Place::blank) {}

  void run() {
    each_code_tile(task_, [&](CodeTile& tile, CodeTile* next, const CodeTile& later) {
      if (!tile.is_whole) return attend_apart(tile, next);
      if (place_ != Place::codes) {
        if (place_ == Place::outputs) move(Place::state);
        decode_.enter(place_ == Place::blank);
        place_ = Place::codes;
      }
      decode_.attend(tile, next != nullptr && next->is_whole ? next : nullptr, later);
    });
    move(Place::state);
  }

 private:
  void attend_apart(const CodeTile& from, const CodeTile* after) {
    move(Place::outputs);
    Tile tile, next;
    set_tile(task_, from.seen, tile);
    if (after != nullptr) set_tile(task_, after->seen, next);
    attend_few_tile(task_, logits_, scratch_, tile, after != nullptr ? &next : nullptr);
  }

  // To one of the places of all.
  void move(Place to) {
    if (place_ == Place::blank) clear(task_);
    if (place_ == Place::codes) decode_.leave();
    if (place_ == Place::outputs && to == Place::state)
      from_outputs(outputs_, task_.head_dim_v, group_);
    if (place_ != Place::outputs && to == Place::outputs)
      to_outputs(group_, task_.head_dim_v, outputs_);
    place_ = to;
  }

  const AttendTask& task_;
  const AmxScratch& scratch_;
  const Logits logits_;
  const Group group_;
  float* const outputs_;
  DecodeOfCodes<Keys, Values, kChunks, kRows> decode_;
  Place place_;
};

// The columns of small tiles that so many rows take.
inline int columns_of(int num_rows, int head_dim) {
  if (num_rows <= 4) return 4;
  return num_rows <= 8 && head_dim == 128 ? 8 : 16;  // others are too rare for code of their own
}

// The parts of queries that are whole, where decode looks for them.
inline void take_parts(int num_rows, int head_dim, const AmxScratch& scratch) {
  if (num_rows > kMostRowsOfCodes) return;
  const int columns = columns_of(num_rows, head_dim);
  const auto part = columns == 4 ? part_whole<4> : columns == 8 ? part_whole<8> : part_whole<16>;
  for (int chunk = 0; chunk + 1 < chunks_of(head_dim); chunk += 2)
    part(scratch.queries + chunk * kTileBytes, scratch.query_parts + chunk * kTileBytes);
}

template <class Keys, class Values, int kChunks>
inline void attend_codes_as(const AttendTask& task, const AmxScratch& scratch) {
  switch (columns_of(task.num_rows, task.head_dim)) {
    case 4:
      return CodesTask<Keys, Values, kChunks, 4>(task, scratch).run();
    case 8:
      return CodesTask < Keys, Values, kChunks, kChunks == 4 ? 8 : 16 > (task, scratch).run();
    default:
      CodesTask<Keys, Values, kChunks, 16>(task, scratch).run();
  }
}

template <class Keys, class Values>
inline void attend_codes_as(const AttendTask& task, const AmxScratch& scratch) {
  if (task.head_dim == 64) return attend_codes_as<Keys, Values, 2>(task, scratch);
  if (task.head_dim == 128) return attend_codes_as<Keys, Values, 4>(task, scratch);
  attend_codes_as<Keys, Values, 8>(task, scratch);
}

// For tasks that serves_codes() admits.
inline void attend_codes(const AttendTask& task, const AmxScratch& scratch) {
  using Int8 = Codes<Int8ToHalves>;
  using E4m3 = Codes<E4m3ToHalves>;
  using Keys = Int8Keys<are_whole(Element::int8)>::Type;
  if (task.key_element == Element::e4m3) return attend_codes_as<E4m3, E4m3>(task, scratch);
  if (task.value_element == Element::int8) return attend_codes_as<Keys, Int8>(task, scratch);
  attend_codes_as<Keys, Halves>(task, scratch);
}

}  // namespace pagoda::cpu::PAGODA_ISA

// Where the units of a sequence lie, and asking for them before their use.
//
// Memory is read at full speed only by the machine's own prefetcher, which follows ascending
// addresses within 4 KiB. Loads of tiles jump from row to row, so what it follows is made for it:
// the first line of a piece is touched long before (it also finds the translation), and every line
// is named in the order in which it lies a unit before its use, four pieces side by side
// (docs/kernels/cpu-amx.md).
#pragma once

#include "amx_pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kPieceKeys = 16;

// The rows of a unit as the products take them: first sixteen keys, second sixteen.
struct UnitRows {
  int key = -1;  // the first; below 0: none
  const char *keys[2], *values[2];
};

// Of the keys and values of a task whose pages hold whole pieces.
class Pieces {
 public:
  explicit Pieces(const AttendTask& task)
      : task_(task), page_size_(task.keys.page_size), last_(last_key(task)) {}

  static bool serves(const AttendTask& task) {
    return task.keys.page_size % kPieceKeys == 0 || task.keys.page_size == kOnePage;
  }

  // Of the unit from `key` on.
  const UnitRows& at(int key) {
    UnitRows& rows = rows_[key / kUnitKeys % kKept];
    if (rows.key != key) locate(key, rows);
    return rows;
  }
  // The same, or null behind the last key.
  const UnitRows* ahead(int key) { return key < last_ ? &at(key) : nullptr; }

 private:
  static constexpr int kKept = 4;
  static constexpr int kOnePage = 0x7fffffff;

  static int last_key(const AttendTask& task) {
    return smaller(task.key_end, task.visible_end[task.num_rows - 1]);
  }

  void locate(int key, UnitRows& rows) const {
    rows.key = key;
    int page = key / page_size_, offset = key - page * page_size_;
    for (int i = 0; i < 2; ++i) {
      if (i > 0 && key + kPieceKeys >= task_.key_end) {  // its page need not exist
        rows.keys[1] = rows.keys[0];
        rows.values[1] = rows.values[0];
        return;
      }
      rows.keys[i] = address(task_.keys, page, offset);
      rows.values[i] = address(task_.values, page, offset);
      offset += kPieceKeys;
      if (offset < page_size_) continue;
      offset = 0;
      ++page;
    }
  }
  static const char* address(const PagedRows& rows, int page, int offset) {
    return rows.base + rows.pages[page] * rows.page_stride + offset * rows.token_stride;
  }

  const AttendTask& task_;
  const int page_size_, last_;
  UnitRows rows_[kKept];
};

// Four pieces to ask for beside other work, of each what a chunk of tiles takes at a time.
class LinesAhead {
 public:
  // Two pieces, of the parts `first` and the next. row_bytes: of a row's elements
  void add(int first, const PagedRows& rows, int64_t row_bytes, const char* const* pieces) {
    for (int i = 0; i < 2; ++i) {
      Part& part = parts_[first + i];
      part.at = pieces[i];
      part.end = pieces[i] + (kPieceKeys - 1) * rows.token_stride + row_bytes;
      part.row_bytes = row_bytes;
      part.row_step = rows.token_stride;
    }
  }

  // The next sixteen lines of the piece `part`.
  [[gnu::always_inline]] void ask(int part) {
    Part& it = parts_[part];
    if (__builtin_expect(it.row_step != it.row_bytes, false)) return ask_rows(it);
    for (int i = 0; i < kPieceKeys && it.at < it.end; i += kTogether, it.at += kTogether * 64)
#pragma GCC unroll 4
      for (int line = 0; line < kTogether; ++line) prefetch(it.at + line * 64);
  }

 private:
  static constexpr int kTogether = 4;  // rows are multiples of sixteen bytes, pieces of four lines

  struct Part {
    const char *at = nullptr, *end = nullptr;
    int64_t row_bytes = 0, row_step = 0;
  };

  // Of rows that stand apart: as many as have sixteen lines.
  [[gnu::noinline]] static void ask_rows(Part& part) {
    for (int lines = 0; lines < kPieceKeys && part.at < part.end; part.at += part.row_step)
      for (int64_t byte = 0; byte < part.row_bytes; byte += 64, ++lines) prefetch(part.at + byte);
  }

  Part parts_[4];
};

}  // namespace pagoda::cpu::PAGODA_ISA

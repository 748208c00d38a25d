// Where the units of a sequence lie, and asking for them before their use.
//
// Memory is read at full speed only by the machine's own prefetcher, which follows ascending
// addresses within 4 KiB. Loads of tiles jump from row to row, so what it follows is made for it:
// the first line of a piece is touched long before (it also finds the translation), and every other
// line shortly before. Every line is slower for wide rows and for narrow ones, one line in four for
// narrow ones (docs/kernels/cpu-amx.md).
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

// Lines of four pieces to ask for beside other work, a share of each at a time.
class LinesAhead {
 public:
  // A line of so many is named.
  static constexpr int kStep = 128;  // bytes

  // Two pieces, of the parts `first` and the next.
  void add(int first, const PagedRows& rows, const char* const* pieces) {
    for (int i = 0; i < 2; ++i) {
      Part& part = parts_[first + i];
      part.at = pieces[i];
      part.step = rows.token_stride > kStep ? rows.token_stride : kStep;
      part.end = pieces[i] + kPieceKeys * rows.token_stride;
    }
  }

  // A share of the piece `part`.
  [[gnu::always_inline]] void ask(int part, int lines) {
    const char* at = parts_[part].at;
    const char* end = parts_[part].end;
    const int64_t step = parts_[part].step;
    for (int i = 0; i < lines && at < end; ++i, at += step) prefetch(at);
    parts_[part].at = at;
  }

 private:
  struct Part {
    const char *at = nullptr, *end = nullptr;
    int64_t step = kStep;
  };
  Part parts_[4];
};

}  // namespace pagoda::cpu::PAGODA_ISA

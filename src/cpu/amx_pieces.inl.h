// Where the units of a sequence lie, and asking for them before their use.
//
// Memory is read at full speed only by the machine's own prefetcher, which follows ascending
// addresses within 4 KiB. Loads of tiles jump from row to row, so what it follows is made for it:
// the first line of a piece is touched long before (it also finds the translation), and lines are
// named in the order in which they lie a unit before their use, four pieces side by side
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

  // Keys come in ascending order but for the first of a task.
  void locate(int key, UnitRows& rows) {
    rows.key = key;
    if (key < page_begin_) page_ = page_begin_ = 0;
    if (key - page_begin_ >= 2 * int64_t{page_size_}) {
      page_ = key / page_size_;
      page_begin_ = page_ * page_size_;
    }
    for (; key - page_begin_ >= page_size_; ++page_) page_begin_ += page_size_;
    int page = page_, offset = key - page_begin_;
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
  int page_ = 0,
      page_begin_ = 0;  // of the last unit that was located: its page, that one's first key
  UnitRows rows_[kKept];
};

// Four pieces to ask for beside other work, of each what a chunk of tiles takes at a time: two of
// keys and two of values.
class LinesAhead {
 public:
  explicit LinesAhead(const AttendTask& task) : task_(task) {}

  // Two pieces, of the parts `first` and the next.
  void add(int first, const char* const* pieces) {
    const int64_t bytes = (kPieceKeys - 1) * rows_of(first).token_stride + row_bytes(first);
    for (int i = 0; i < 2; ++i) parts_[first + i] = {pieces[i], pieces[i] + bytes};
  }

  // The next sixteen lines of the piece `part`, or one in kApart of them. Every line goes to the
  // second-level cache, since the first has no room for all beside the rest.
  template <int kApart>
  [[gnu::always_inline]] void ask(int part) {
    Part& it = parts_[part];
    if (it.at >= it.end) return;
    if (__builtin_expect(rows_of(part).token_stride != row_bytes(part), false))
      return ask_rows(it, row_bytes(part), rows_of(part).token_stride);
    for (int i = 0; i < kPieceKeys && it.at < it.end; i += kTogether, it.at += kTogether * 64)
#pragma GCC unroll 4
      for (int line = 0; line < kTogether; line += kApart)
        kApart == 1 ? prefetch_near(it.at + line * 64) : prefetch(it.at + line * 64);
  }

 private:
  static constexpr int kTogether = 4;  // rows are multiples of sixteen bytes, pieces of four lines

  struct Part {
    const char *at = nullptr, *end = nullptr;
  };

  const PagedRows& rows_of(int part) const {
    return part < 2 ? task_.keys : task_.values;
  }
  int64_t row_bytes(int part) const {
    return 2 * int64_t{part < 2 ? task_.head_dim : task_.head_dim_v};
  }

  // Of rows that stand apart: as many as have sixteen lines.
  [[gnu::noinline]] static void ask_rows(Part& part, int64_t bytes, int64_t step) {
    for (int lines = 0; lines < kPieceKeys && part.at < part.end; part.at += step)
      for (int64_t byte = 0; byte < bytes; byte += 64, ++lines) prefetch_near(part.at + byte);
  }

  const AttendTask& task_;
  Part parts_[4];
};

}  // namespace pagoda::cpu::PAGODA_ISA

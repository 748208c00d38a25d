// Prefetching beside the work. Memory that is read at random, a page here and a page there, arrives
// at full speed only if three things come together (docs/kernels/cpu-attend.md has the
// measurements): the first line of each stretch is touched long before (attend.inl.h), the
// following lines are asked for in the order in which they lie, and only a few kilobytes before
// their use.
#pragma once

namespace pagoda::cpu::PAGODA_ISA {

// The rows [begin, end) of a tile, each of so many bytes, and what is read after them.
struct Stretch {
  const char* const* rows;
  int begin, end, bytes;
  const Stretch* after;
};

// Walks along stretches, row by row, as bytes are used elsewhere.
class Ahead {
 public:
  // Bytes between what is asked for and what is used. Changes speed, never results.
  static constexpr int kLead = 8192;

  // Null: there is nothing to prefetch.
  explicit Ahead(const Stretch* stretch) : stretch_(stretch) {
    if (stretch == nullptr) return;
    row_ = stretch->begin + kLead / stretch->bytes;
    settle();
  }

  // So many bytes were used: asks for as many.
  void advance(int bytes) {
    credit_ += bytes;
    while (stretch_ != nullptr && credit_ >= stretch_->bytes) {
      const char* row = stretch_->rows[row_];
      for (int i = 0; i < stretch_->bytes; i += 64) prefetch(row + i);
      credit_ -= stretch_->bytes;
      if (++row_ >= stretch_->end) settle();
    }
  }

 private:
  void settle() {
    while (stretch_ != nullptr && row_ >= stretch_->end) {
      row_ -= stretch_->end;
      stretch_ = stretch_->after;
      if (stretch_ != nullptr) row_ += stretch_->begin;
    }
  }

  const Stretch* stretch_;
  int row_ = 0, credit_ = 0;
};

}  // namespace pagoda::cpu::PAGODA_ISA

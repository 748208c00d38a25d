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

  // So many bytes were used: asks for as many, into the second-level cache. Into the first every
  // line on its way would hold one of the few places for lines that a load has missed.
  void advance(int bytes) {
    credit_ += bytes;
    if (credit_ < kTogether || stretch_ == nullptr) return;
    int rows = credit_ / stretch_->bytes;
    credit_ -= rows * stretch_->bytes;
    for (; rows > 0 && stretch_ != nullptr; --rows) {
      ask_for(stretch_->rows[row_], stretch_->bytes);
      if (++row_ >= stretch_->end) settle();
    }
  }

 private:
  // Bytes that are asked for at once, where rows are shorter.
  static constexpr int kTogether = 1024;

  [[gnu::always_inline]] static void ask_for(const char* row, int bytes) {
    constexpr int kLine = 64, kLines = 4;
    int at = 0;
    for (; at + (kLines - 1) * kLine < bytes; at += kLines * kLine)
#pragma GCC unroll 4
      for (int line = 0; line < kLines; ++line) prefetch_second(row + at + line * kLine);
    for (; at < bytes; at += kLine) prefetch_second(row + at);
  }
  [[gnu::always_inline]] static void prefetch_second(const char* p) {
    __builtin_prefetch(p, 0, 2);
  }

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

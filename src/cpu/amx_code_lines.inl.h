// How decode over codes reads its memory: 64 codes of a row as elements of tiles, lines of a unit's
// rows converted into tiles, and the lines of units to come asked for meanwhile.
#pragma once

#include "amx_convert.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Pairs of the columns of two rows, four vectors from 64 columns; and which of these is pair n of
// vector t.
[[gnu::always_inline]] inline void pair_halves(__m512i a_low, __m512i a_high, __m512i b_low,
                                               __m512i b_high, __m512i* pairs) {
  pairs[0] = _mm512_unpacklo_epi16(a_low, b_low);
  pairs[1] = _mm512_unpackhi_epi16(a_low, b_low);
  pairs[2] = _mm512_unpacklo_epi16(a_high, b_high);
  pairs[3] = _mm512_unpackhi_epi16(a_high, b_high);
}
inline int column_of_halves(int t, int n) {
  return t / 2 * 32 + n / 4 * 8 + t % 2 * 4 + n % 4;
}

// 64 elements of a row become two vectors of the tiles' element. Whether codes were plain is asked
// once for many; then these are loaded anew.
template <class Convert>
struct Codes {
  static constexpr int kBytes = 1;
  static constexpr bool kAreWhole = false;
  static constexpr bool kHasOthers = Convert::kMostPlain < 255;
  static constexpr bool kPairsBytes = requires(const char* row, __m512i* pairs) {
    Convert::plain_pairs(row, row, pairs);
  };
  __m512i strangest = _mm512_setzero_si512();

  template <bool kPlain>
  [[gnu::always_inline]] void load(const char* from, __m512i& low, __m512i& high) {
    low = kPlain ? Convert::plain(from) : Convert::any(from);
    high = kPlain ? Convert::plain(from + 32) : Convert::any(from + 32);
    if (kPlain && kHasOthers) strangest = _mm512_max_epu8(strangest, Convert::strangeness(from));
  }
  [[gnu::always_inline]] bool were_plain() const {
    return !kHasOthers || are_plain<Convert>(strangest);
  }

  // Of two rows pairs of elements, in the order of column_of; columns n to n + 3 are kColumnStep
  // apart where n is a multiple of 4.
  template <bool kPlain>
  [[gnu::always_inline]] void load_pairs(const char* a, const char* b, __m512i* pairs) {
    if constexpr (kPairsBytes) {
      kPlain ? Convert::plain_pairs(a, b, pairs) : Convert::any_pairs(a, b, pairs);
      if (kPlain && kHasOthers) {
        const __m512i most = _mm512_max_epu8(Convert::strangeness(a), Convert::strangeness(b));
        strangest = _mm512_max_epu8(strangest, most);
      }
      return;
    }
    __m512i a_low, a_high, b_low, b_high;
    load<kPlain>(a, a_low, a_high);
    load<kPlain>(b, b_low, b_high);
    pair_halves(a_low, a_high, b_low, b_high, pairs);
  }
  static constexpr int kColumnStep = kPairsBytes ? 2 : 1;
  static int column_of(int t, int n) {
    return kPairsBytes ? n / 4 * 16 + t / 2 * 8 + n % 4 * 2 + t % 2 : column_of_halves(t, n);
  }
};

// Keys that are multiplied as they lie, by queries that are whole (amx_whole.inl.h).
struct WholeCodes {
  static constexpr int kBytes = 1;
  static constexpr bool kAreWhole = true;
};
template <bool kAreWhole>
struct Int8Keys {
  using Type = Codes<Int8ToHalves>;
};
template <>
struct Int8Keys<true> {
  using Type = WholeCodes;
};

// The tiles' own element, beside keys that are codes.
struct Halves {
  static constexpr int kBytes = 2;
  template <bool>
  [[gnu::always_inline]] void load(const char* from, __m512i& low, __m512i& high) {
    low = _mm512_loadu_si512(from);
    high = _mm512_loadu_si512(from + 64);
  }
  static bool were_plain() { return true; }

  template <bool kPlain>
  [[gnu::always_inline]] void load_pairs(const char* a, const char* b, __m512i* pairs) {
    __m512i a_low, a_high, b_low, b_high;
    load<kPlain>(a, a_low, a_high);
    load<kPlain>(b, b_low, b_high);
    pair_halves(a_low, a_high, b_low, b_high, pairs);
  }
  static constexpr int kColumnStep = 1;
  static int column_of(int t, int n) { return column_of_halves(t, n); }
};

// The rows of a unit, of kLines lines of 64 elements each, that are asked for: a share beside the
// softmax of an earlier unit and the rest in quarters beside the work on each line, in the order in
// which they lie, because memory that is read in leaps of two lines comes a fifth slower.
template <class Element, int kLines>
struct Ahead {
  static constexpr int kEarly = kUnitKeys * kLines / 8;  // beside the softmax
  static constexpr int kBeside = (kUnitKeys * kLines - kEarly) / kLines / 4;

  const char* const* rows;  // [32] or null
  int first;

  Ahead(const char* const* rows, int line, int quarter)
      : rows(rows), first(kEarly + (4 * line + quarter) * kBeside) {}

  [[gnu::always_inline]] static void ask_for(const char* const* rows, int number) {
    const char* line = rows[number / kLines] + number % kLines * 64 * Element::kBytes;
#pragma GCC unroll 2
    for (int i = 0; i < Element::kBytes; ++i) prefetch_near(line + 64 * i);
  }

  // The share of step `step` of `steps`.
  [[gnu::always_inline]] void ask(int step, int steps) const {
    if (rows == nullptr) return;
#pragma GCC unroll 8
    for (int i = step * kBeside / steps; i < (step + 1) * kBeside / steps; ++i)
      ask_for(rows, first + i);
  }
};
struct NothingAhead {
  void ask(int, int) const {}
};

// The conversions of a line, in four quarters so that they can stand between the instructions of a
// product and the store of its sums. This one converts nothing.
struct NoLine {
  template <class Ahead>
  [[gnu::always_inline]] void quarter(int, const Ahead& ahead) {
    ahead.ask(0, 1);
  }
  [[gnu::always_inline]] void finish() {}
};

// Line `line` of the keys of a unit becomes two columns of tiles, [2][chunks] of sixteen keys.
template <class Keys, int kChunks>
struct KeyLine {
  const char* const* rows;  // [32]
  int at;                   // bytes
  char* to;
  Keys loaded;

  template <class Ahead>
  [[gnu::always_inline]] void quarter(int i, const Ahead& ahead) {
    convert<true>(i, ahead);
  }
  [[gnu::always_inline]] void finish() {
    if (!loaded.were_plain()) once_more(rows, at, to);
  }
  [[gnu::noinline]] static void once_more(const char* const* rows, int at, char* to) {
    KeyLine line{rows, at, to, {}};
    for (int i = 0; i < 4; ++i) line.template convert<false>(i, NothingAhead());
  }
  template <bool kPlain, class Ahead>
  [[gnu::always_inline]] void convert(int i, const Ahead& ahead) {
    char* tile = to + i / 2 * kChunks * kTileBytes;
#pragma GCC unroll 8
    for (int j = i % 2 * 8; j < i % 2 * 8 + 8; ++j) {
      ahead.ask(j % 8, 8);
      __m512i low, high;
      loaded.template load<kPlain>(rows[i / 2 * 16 + j] + at, low, high);
      _mm512_store_si512(tile + j * kTileRowBytes, low);
      _mm512_store_si512(tile + kTileBytes + j * kTileRowBytes, high);
    }
  }
};

// Of values four tiles, where the keys j and 16 + j stand in pairs.
template <class Values>
struct ValueLine {
  const char* const* rows;  // [32]
  int at;                   // bytes
  char* to;
  Values loaded;

  template <class Ahead>
  [[gnu::always_inline]] void quarter(int i, const Ahead& ahead) {
    convert<true>(i, ahead);
  }
  [[gnu::always_inline]] void finish() {
    if (!loaded.were_plain()) once_more(rows, at, to);
  }
  [[gnu::noinline]] static void once_more(const char* const* rows, int at, char* to) {
    ValueLine line{rows, at, to, {}};
    for (int i = 0; i < 4; ++i) line.template convert<false>(i, NothingAhead());
  }
  template <bool kPlain, class Ahead>
  [[gnu::always_inline]] void convert(int i, const Ahead& ahead) {
#pragma GCC unroll 4
    for (int j = 4 * i; j < 4 * i + 4; ++j) {
      ahead.ask(j % 4, 4);
      __m512i pairs[4];
      loaded.template load_pairs<kPlain>(rows[j] + at, rows[16 + j] + at, pairs);
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t)
        _mm512_store_si512(to + t * kTileBytes + j * kTileRowBytes, pairs[t]);
    }
  }
};

// A line alone.
template <class Line>
inline void convert(Line line) {
  for (int i = 0; i < 4; ++i) line.quarter(i, NothingAhead());
  line.finish();
}

}  // namespace pagoda::cpu::PAGODA_ISA

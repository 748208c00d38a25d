// From rows of queries, keys and values, wherever they lie, to the tiles that the products read.
//
//     queries  [rows / 16][head_dim / 32] tiles of [16 pairs of dimensions][16 rows][2]
//     keys     [keys / 16][head_dim / 32] tiles of [16 keys][32 dimensions]
//     values   [keys / 32][head_dim_v / 16] tiles of [16 columns][16 pairs of keys][2]
//
// A pair of values is key j and key 16 + j of the 32 keys of a unit: the two chains of a product
// then are the first sixteen keys and the second, which is the order in which values that are used
// as they lie are summed (amx_few.inl.h).
//
// Dimensions are padded with zeros to a multiple of 32.
#pragma once

#include "amx_whole.inl.h"
#include "tile.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kGroupRows = 16;  // that are lanes of one vector
constexpr int kUnitKeys = 32;   // of one step of the products of weights and values
constexpr int kUnits = kTileKeys / kUnitKeys;

// Numbers of 32 bits of the rows from `first` on; lanes beyond the rows repeat the first.
template <class Number>
inline __m512i lanes_of_rows(const Number* numbers, int first, int rows) {
  static_assert(sizeof(Number) == 4);
  const auto there = static_cast<__mmask16>((1u << rows) - 1);
  int32_t word;
  __builtin_memcpy(&word, numbers + first, sizeof word);
  return _mm512_mask_loadu_epi32(_mm512_set1_epi32(word), there, numbers + first);
}

inline int chunks_of(int dim) {
  return (dim + kChunkDims - 1) / kChunkDims;
}

// Codes of one byte become the tiles' element on the way (amx_convert.inl.h).
inline bool is_code(Element element) {
  return element == Element::int8 || element == Element::e4m3;
}
inline int row_bytes(Element element, int dim) {
  return is_code(element) ? dim : 2 * dim;
}

// Asks for the rows of a tile, line by line in the order in which they lie, a few at a time beside
// the work on the tile before: many at once are dropped by the machine.
class Upcoming {
 public:
  // Null: there is no next tile.
  Upcoming(const AttendTask& task, const Tile* next)
      : Upcoming(task, next != nullptr ? next->keys : nullptr,
                 next != nullptr ? next->values : nullptr, kTileKeys) {}

  // So many rows of keys and of values, or null.
  Upcoming(const AttendTask& task, const char* const* keys, const char* const* values, int count)
      : count_(count),
        key_lines_((row_bytes(task.key_element, task.head_dim) + 63) / 64),
        value_lines_((row_bytes(task.value_element, task.head_dim_v) + 63) / 64) {
    if (keys == nullptr) return;
    rows_ = keys;
    values_ = values;
    lines_ = key_lines_;
    left_ = count;
  }
  int total() const { return count_ * (key_lines_ + value_lines_); }

  void advance(int lines) {
    for (; lines > 0 && left_ > 0; --lines) {
      prefetch_near(*rows_ + line_ * 64);
      if (++line_ < lines_) continue;
      line_ = 0;
      ++rows_;
      if (--left_ > 0 || values_ == nullptr) continue;
      rows_ = values_;
      values_ = nullptr;
      lines_ = value_lines_;
      left_ = count_;
    }
  }
  void finish() { advance(total()); }

 private:
  const int count_, key_lines_, value_lines_;
  const char* const* rows_ = nullptr;
  const char* const* values_ = nullptr;
  int lines_ = 0, line_ = 0, left_ = 0;
};

// r[i] lane j becomes r[j] lane i.
[[gnu::always_inline]] inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[4 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[4 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0xdd);
  }
}

// Halves of words: r[i] is [columns i, 8 + i of the first 16 for i < 8, of the last 16 otherwise]
// [16 rows], and becomes row i of 32 columns. Rows part by halves, words, double words and lanes.
[[gnu::always_inline]] inline void turn_columns(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm512_unpacklo_epi32(t[i + j], t[i + j + 2]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi32(t[i + j], t[i + j + 2]);
    }
#pragma GCC unroll 2
  for (int i = 0; i < 16; i += 8)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      t[i + 2 * j] = _mm512_unpacklo_epi64(r[i + j], r[i + j + 4]);
      t[i + 2 * j + 1] = _mm512_unpackhi_epi64(r[i + j], r[i + j + 4]);
    }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i64x2(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i64x2(t[i], t[8 + i], 0xdd);
  }
}

// put(i, lane i of each of r, in its order and with zeros behind them), for all i.
template <class Put>
[[gnu::always_inline]] inline void turn_four(const __m512i (&r)[4], const Put& put) {
  const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
  const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
  const __m512i t[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c),
                        _mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d)};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    put(i, _mm512_maskz_shuffle_i32x4(0xf, t[i], t[i], 0));
    put(4 + i, _mm512_maskz_shuffle_i32x4(0xf, t[i], t[i], 1));
    put(8 + i, _mm512_maskz_shuffle_i32x4(0xf, t[i], t[i], 2));
    put(12 + i, _mm512_maskz_shuffle_i32x4(0xf, t[i], t[i], 3));
  }
}

// A group of up to 16 rows of queries; the rest are zeros.
template <class Load>
inline void pack_group(int count, int head_dim, char* to, const Load& load_row) {
  for (int c = 0; c < chunks_of(head_dim); ++c, to += kTileBytes) {
    if (count <= 4) {
      __m512i r[4];
      for (int i = 0; i < 4; ++i)
        r[i] = i < count ? load_row(i, c * kChunkDims) : _mm512_setzero_si512();
      turn_four(
          r, [&](int i, __m512i rows) __attribute__((always_inline)) {
            _mm512_store_si512(to + i * kTileRowBytes, rows);
          });
      continue;
    }
    __m512i r[16];
    if (count == 16) {
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) r[i] = load_row(i, c * kChunkDims);
    } else {
      for (int i = 0; i < 16; ++i)
        r[i] = i < count ? load_row(i, c * kChunkDims) : _mm512_setzero_si512();
    }
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * kTileRowBytes, r[i]);
  }
}

// keys: what the queries are for; units: [16] what packed rows are multiplied by to be the
// caller's, powers of two; coming: rows behind these, up to 16, of which lines are asked for
// between the loads
inline void pack_queries(Element element, Element keys, const char* const* rows, int count,
                         int coming, int head_dim, char* to, float* units) {
  const auto factor_of = are_whole(keys) ? whole_factor : query_factor;
  float factors[kGroupRows];
  for (int i = 0; i < kGroupRows; ++i) {
    factors[i] = i < count ? factor_of(element, rows[i], head_dim) : 1.0f;
    units[i] = 1.0f / factors[i];
  }
  if (are_whole(keys))
    return pack_group(count, head_dim, to, [&](int i, int first) {
      if (i < coming) prefetch(rows[count + i] + first * 2);
      return load_whole(element, rows[i], first, head_dim, factors[i]);
    });
  if (element == kTileElement)
    return pack_group(
        count, head_dim, to, [&](int i, int first) __attribute__((always_inline)) {
          if (i < coming) prefetch(rows[count + i] + first * 2);
          return load_halves(rows[i], first, head_dim);
        });
  pack_group(count, head_dim, to, [&](int i, int first) {
    if (i < coming) prefetch(rows[count + i] + first);
    return load_query(element, rows[i], first, head_dim, factors[i]);
  });
}

// Sixteen keys.
inline void pack_keys(const char* const* rows, int head_dim, char* to) {
  for (int c = 0; c < chunks_of(head_dim); ++c)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      _mm512_store_si512(to + c * kTileBytes + i * kTileRowBytes,
                         load_halves(rows[i], c * kChunkDims, head_dim));
}

// The values of a unit. Returns whether all of them are finite.
inline bool pack_values(const char* const* rows, int head_dim_v, char* to) {
  const __m512i size = _mm512_set1_epi16(0x7fff);
  __m512i most = _mm512_setzero_si512();
  for (int c = 0; c < chunks_of(head_dim_v); ++c, to += 2 * kTileBytes) {
    __m512i low[16], high[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const __m512i a = load_halves(rows[i], c * kChunkDims, head_dim_v);
      const __m512i b = load_halves(rows[16 + i], c * kChunkDims, head_dim_v);
      most = _mm512_max_epu16(most, _mm512_and_si512(a, size));
      most = _mm512_max_epu16(most, _mm512_and_si512(b, size));
      low[i] = _mm512_unpacklo_epi16(a, b);
      high[i] = _mm512_unpackhi_epi16(a, b);
    }
    transpose(low);
    transpose(high);
    // Lane 4 q + w of an unpacked vector is column 8 q + w of the chunk, or 4 more.
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const int column = i / 4 * 8 + i % 4;
      _mm512_store_si512(to + column * kTileRowBytes, low[i]);
      _mm512_store_si512(to + (column + 4) * kTileRowBytes, high[i]);
    }
  }
  return _mm512_cmpge_epu16_mask(most, _mm512_set1_epi16(kInfinityBits)) == 0;
}

}  // namespace pagoda::cpu::PAGODA_ISA

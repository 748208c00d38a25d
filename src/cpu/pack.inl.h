// From rows of keys and values, wherever their pages lie, to the dense float tiles that the matrix
// products read.
//
// Keys are transposed, so that a product takes one dimension of many keys per vector:
//
//     packed_keys    [kTileKeys / kPanel] panels of [head_dim, kPanel]
//
// Values keep their order; their columns are cut into panels of nearly equal width, because a last
// panel of one vector would leave the multipliers waiting for each other:
//
//     packed_values  panels of [kTileKeys, vectors of the panel * kWidth]
//
// Two vectors of bf16 lie in memory as one vector of words, whose halves are parted by cheaper
// instructions than those that widen. So within each two vectors of a panel the even columns of
// bf16 values come first and then the odd ones, in packed_values and in the rows of o alike.
#pragma once

#include "ahead.inl.h"
#include "tile.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kWidth = F32::kWidth;
constexpr int kPanel = kBlockVectors * kWidth;
static_assert(kTileKeys % kPanel == 0);

struct Panel {
  int first, vectors;  // in vectors from the row's start
};

struct Panels {
  int vectors, count;  // of a row in all

  explicit Panels(int columns)
      : vectors((columns + kWidth - 1) / kWidth),
        count((vectors + kBlockVectors - 1) / kBlockVectors) {}

  Panel panel(int i) const {
    const int narrow = vectors / count, num_wide = vectors % count;
    return {i * narrow + (i < num_wide ? i : num_wide), narrow + (i < num_wide ? 1 : 0)};
  }
};

inline float* panel_of(float* packed_values, Panel panel) {
  return packed_values + static_cast<int64_t>(panel.first) * kWidth * kTileKeys;
}

// Calls use(i, keys) for each dimension d + i of the block of kWidth keys that starts at row `key`,
// with that dimension of all its keys in one vector. Dimensions come in ascending order.
//
// Pairs of bf16 are transposed as one word and parted afterwards: half the shuffles.
template <class E>
struct KeyBlock {
  static constexpr int kDims = kWidth;

  template <class Use>
  [[gnu::always_inline]] static void each(const char* const* rows, Ahead& ahead, int key, int d,
                                          int dims, const Use& use) {
    const Lanes lanes = first_lanes(dims);
    F32 r[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      r[i] = E::load(rows[key + i] + d * E::kBytes, lanes);
    }
    ahead.advance(kWidth * kDims * E::kBytes);
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      if (i >= 8 && i >= dims) break;
      use(i, r[i]);
    }
  }
};

template <>
struct KeyBlock<AsBf16> {
  static constexpr int kDims = 2 * kWidth;

  template <class Use>
  [[gnu::always_inline]] static void each(const char* const* rows, Ahead& ahead, int key, int d,
                                          int dims, const Use& use) {
    const int pairs = dims / 2;
    const Lanes lanes = first_lanes(pairs);
    F32 r[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      r[i] = load_words(rows[key + i] + d * 2, lanes);
    }
    ahead.advance(kWidth * kDims * 2);
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      if (i >= 4 && i >= pairs) break;
      use(2 * i, lower_of_pair(r[i]));
      use(2 * i + 1, upper_of_pair(r[i]));
    }
  }
};

// Quadruples of bytes likewise. A NaN among them is rare, and looked for in the whole block at
// once.
template <class E>
struct KeyBlockOfBytes {
  static constexpr int kDims = 4 * kWidth;

  template <class Use>
  [[gnu::always_inline]] static void each(const char* const* rows, Ahead& ahead, int key, int d,
                                          int dims, const Use& use) {
    const int quads = dims / 4;
    const Lanes lanes = first_lanes(quads);
    F32 r[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) r[i] = load_words(rows[key + i] + d, lanes);
    ahead.advance(kWidth * kDims);
    const bool has_nan = any_nan_code(E{}, r);
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      if (i >= 2 && i >= quads) break;
      F32 bytes[4];
      part(E{}, r[i], has_nan, bytes);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) use(4 * i + j, bytes[j]);
    }
  }

 private:
  static bool any_nan_code(AsInt8, const F32 (&)[kWidth]) {
    return false;
  }
  static bool any_nan_code(AsE4m3, const F32 (&words)[kWidth]) {
    return AsE4m3::any_nan(words);
  }
  [[gnu::always_inline]] static void part(AsInt8, F32 words, bool, F32 (&bytes)[4]) {
    AsInt8::part(words, bytes);
  }
  [[gnu::always_inline]] static void part(AsE4m3, F32 words, bool has_nan, F32 (&bytes)[4]) {
    AsE4m3::part_finite(words, bytes);
    if (__builtin_expect(has_nan, false)) AsE4m3::set_nans(words, bytes);
  }
};

template <>
struct KeyBlock<AsInt8> : KeyBlockOfBytes<AsInt8> {};
template <>
struct KeyBlock<AsE4m3> : KeyBlockOfBytes<AsE4m3> {};

// The first `count` keys; count is a multiple of kWidth.
template <class E>
[[gnu::noinline]] inline void pack_keys(const char* const* rows, Ahead& ahead, int count,
                                        int head_dim, float* packed) {
  for (int key = 0; key < count; key += kWidth) {
    float* to = packed + static_cast<int64_t>(key / kPanel) * kPanel * head_dim + key % kPanel;
    for (int d = 0; d < head_dim; d += KeyBlock<E>::kDims) {
      const int dims = head_dim - d < KeyBlock<E>::kDims ? head_dim - d : KeyBlock<E>::kDims;
      float* column = to + static_cast<int64_t>(d) * kPanel;
      KeyBlock<E>::each(rows, ahead, key, d, dims,
                        [&](int i, F32 keys) { store(column + i * kPanel, keys); });
    }
  }
}

// The first kVectors vectors of a row of values, as far as its `columns` reach, as floats. lanes:
// of each vector; for parted columns, those of the words of two vectors stand at the first of them.
template <class E>
struct ValueRow {
  template <int kVectors>
  [[gnu::always_inline]] static void load(const char* from, const Lanes* lanes, int,
                                          F32 (&vector)[kVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vector[v] = E::load(from + v * kWidth * E::kBytes, lanes[v]);
  }
  static Lanes lanes_of(int, int columns) {
    return first_lanes(columns);
  }
};

template <>
struct ValueRow<AsBf16> {
  template <int kVectors>
  [[gnu::always_inline]] static void load(const char* from, const Lanes* lanes, int,
                                          F32 (&vector)[kVectors]) {
#pragma GCC unroll 2
    for (int v = 0; v + 1 < kVectors; v += 2) {
      const F32 words = load_words(from + v * kWidth * 2, lanes[v]);
      vector[v] = lower_of_pair(words);
      vector[v + 1] = upper_of_pair(words);
    }
    if constexpr (kVectors % 2 == 1)
      vector[kVectors - 1] = AsBf16::load(from + (kVectors - 1) * kWidth * 2, lanes[kVectors - 1]);
  }
  static Lanes lanes_of(int vectors_left, int columns) {
    return first_lanes(vectors_left > 1 ? columns / 2 : columns);
  }
};

// A NaN is rare, and looked for in all vectors at once.
template <>
struct ValueRow<AsE4m3> {
  template <int kVectors>
  [[gnu::always_inline]] static void load(const char* from, const Lanes* lanes, int columns,
                                          F32 (&vector)[kVectors]) {
    const bool has_nan = AsE4m3::any_nan(from, columns);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vector[v] = AsE4m3::load_finite(from + v * kWidth, lanes[v]);
    if (__builtin_expect(has_nan, false))
      for (int v = 0; v < kVectors; ++v) vector[v] = AsE4m3::load(from + v * kWidth, lanes[v]);
  }
  static Lanes lanes_of(int, int columns) {
    return first_lanes(columns);
  }
};

// Where a panel lies in rows of values, wherever those lie.
template <class E>
struct PanelOfRow {
  int offset;   // bytes from the row's start
  int columns;  // that the row has of the panel
  Lanes lanes[kBlockVectors];

  PanelOfRow(Panel panel, int head_dim_v)
      : offset(panel.first * kWidth * E::kBytes), columns(head_dim_v - panel.first * kWidth) {
    if (columns > panel.vectors * kWidth) columns = panel.vectors * kWidth;
    for (int v = 0; v < panel.vectors; ++v)
      lanes[v] =
          ValueRow<E>::lanes_of(panel.vectors - v - v % 2, head_dim_v - (panel.first + v) * kWidth);
  }
};

template <class E, int kVectors>
inline void pack_panel(const char* const* rows, Ahead& ahead, int begin, int end,
                       const PanelOfRow<E>& panel, float* to) {
  for (int key = begin; key < end; ++key) {
    F32 vector[kVectors];
    ValueRow<E>::load(rows[key] + panel.offset, panel.lanes, panel.columns, vector);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(to + (key * kVectors + v) * kWidth, vector[v]);
    ahead.advance(kVectors * kWidth * E::kBytes);
  }
}

// Only the keys in [begin, end) of the tile.
template <class E>
[[gnu::noinline]] inline void pack_values(const char* const* rows, Ahead& ahead, int begin, int end,
                                          int head_dim_v, float* packed) {
  const Panels panels(head_dim_v);
  for (int p = 0; p < panels.count; ++p) {
    const Panel panel = panels.panel(p);
    const PanelOfRow<E> from(panel, head_dim_v);
    float* to = panel_of(packed, panel);
    if (panel.vectors == 1) pack_panel<E, 1>(rows, ahead, begin, end, from, to);
    if (panel.vectors == 2) pack_panel<E, 2>(rows, ahead, begin, end, from, to);
    if constexpr (kBlockVectors > 2) {
      if (panel.vectors == 3) pack_panel<E, 3>(rows, ahead, begin, end, from, to);
      if (panel.vectors == 4) pack_panel<E, 4>(rows, ahead, begin, end, from, to);
    }
  }
}

// Whether every packed value of the keys in [begin, end) is finite: 0 * x is 0 for those alone.
inline bool all_finite(const float* packed, int begin, int end, int head_dim_v) {
  const Panels panels(head_dim_v);
  F32 sum = broadcast(0.0f);
  for (int p = 0; p < panels.count; ++p) {
    const Panel panel = panels.panel(p);
    const int64_t stride = static_cast<int64_t>(panel.vectors) * kWidth;
    const float* from = packed + static_cast<int64_t>(panel.first) * kWidth * kTileKeys;
    for (int64_t i = begin * stride; i < end * stride; i += kWidth)
      sum = fma(load(from + i), broadcast(0.0f), sum);
  }
  return !any_nan(sum);
}

}  // namespace pagoda::cpu::PAGODA_ISA

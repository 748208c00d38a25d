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
#pragma once

#include "ahead.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

constexpr int kWidth = F32::kWidth;
constexpr int kPanel = kBlockVectors * kWidth;
static_assert(kTileKeys % kPanel == 0);

// Rows of one tile; those that no query may read point to zeros.
using RowPointers = const char* [kTileKeys];

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
      r[i] = load_pairs(rows[key + i] + d * 2, lanes);
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

// The first `count` keys; count is a multiple of kWidth.
template <class E>
inline void pack_keys(const char* const* rows, Ahead& ahead, int count, int head_dim,
                      float* packed) {
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

// Only the keys in [begin, end) of the tile.
template <class E>
inline void pack_values(const char* const* rows, Ahead& ahead, int begin, int end, int head_dim_v,
                        float* packed) {
  const Panels panels(head_dim_v);
  for (int p = 0; p < panels.count; ++p) {
    const Panel panel = panels.panel(p);
    float* to = panel_of(packed, panel);
    const int64_t stride = static_cast<int64_t>(panel.vectors) * kWidth;
    for (int key = begin; key < end; ++key) {
      for (int v = 0; v < panel.vectors; ++v) {
        const int column = (panel.first + v) * kWidth;
        const Lanes lanes = first_lanes(head_dim_v - column);
        store(to + key * stride + v * kWidth, E::load(rows[key] + column * E::kBytes, lanes));
      }
      ahead.advance(panel.vectors * kWidth * E::kBytes);
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

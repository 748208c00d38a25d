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

// The first `count` keys, kWidth keys x kWidth dimensions at a time; count is a multiple of kWidth.
// next: rows to prefetch, or null.
template <class E>
inline void pack_keys(const char* const* rows, const char* const* next, int count, int head_dim,
                      float* packed) {
  for (int key = 0; key < count; key += kWidth) {
    float* to = packed + static_cast<int64_t>(key / kPanel) * kPanel * head_dim + key % kPanel;
    for (int d = 0; d < head_dim; d += kWidth) {
      const int dims = head_dim - d < kWidth ? head_dim - d : kWidth;
      const Lanes lanes = first_lanes(dims);
      F32 r[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        r[i] = E::load(rows[key + i] + d * E::kBytes, lanes);
        if (next != nullptr) prefetch(next[key + i] + d * E::kBytes);
      }
      transpose(r);
      float* column = to + static_cast<int64_t>(d) * kPanel;
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i)
        if (i < 8 || i < dims) store(column + i * kPanel, r[i]);
    }
  }
}

// Pairs of bf16 are transposed as one word and parted afterwards: half the shuffles.
template <>
inline void pack_keys<AsBf16>(const char* const* rows, const char* const* next, int count,
                              int head_dim, float* packed) {
  const int num_pairs = head_dim / 2;
  for (int key = 0; key < count; key += kWidth) {
    float* to = packed + static_cast<int64_t>(key / kPanel) * kPanel * head_dim + key % kPanel;
    for (int pair = 0; pair < num_pairs; pair += kWidth) {
      const int pairs = num_pairs - pair < kWidth ? num_pairs - pair : kWidth;
      F32 r[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        r[i] = load_pairs(rows[key + i] + pair * 4, pairs);
        if (next != nullptr) prefetch(next[key + i] + pair * 4);
      }
      transpose(r);
      float* column = to + static_cast<int64_t>(2 * pair) * kPanel;
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        if (i >= 4 && i >= pairs) break;
        store(column + (2 * i) * kPanel, lower_of_pair(r[i]));
        store(column + (2 * i + 1) * kPanel, upper_of_pair(r[i]));
      }
    }
  }
}

// Only the keys in [begin, end) of the tile.
template <class E>
inline void pack_values(const char* const* rows, const char* const* next, int begin, int end,
                        int head_dim_v, float* packed) {
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
        if (next != nullptr) prefetch(next[key] + column * E::kBytes);
      }
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

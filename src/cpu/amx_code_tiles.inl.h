// Where the rows of 8-bit codes lie of the tiles that a decode step is about to read. A tile of
// codes is converted in less than a microsecond, and comes from memory only if its lines are asked
// for that long before, so tiles are located two ahead of their use.
#pragma once

#include "amx_pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Rows of a decode step, at most.
constexpr int kMostRowsOfCodes = 16;

// The scales of a tile's rows, sixteen at a time.
class ScaleRows {
 public:
  // For tiles that are seen whole. Touches the lines.
  void locate(const PagedRows& rows, int start) {
    if (rows.scales == nullptr) return;
    const bool whole = rows.page_size % kTogether == 0;
    stride_ = whole ? rows.scale_token_stride : int64_t{sizeof(float)};
    for (int i = 0; i < kTileKeys; i += kTogether) {
      float* copy = copies_ + i;
      at_[i / kTogether] = whole ? address(rows, start + i) : reinterpret_cast<const char*>(copy);
      if (whole) {
        prefetch(at_[i / kTogether]);
        prefetch(at_[i / kTogether] + (kTogether - 1) * stride_);
        continue;
      }
      for (int j = 0; j < kTogether; ++j)
        __builtin_memcpy(copy + j, address(rows, start + i + j), sizeof(float));
    }
  }

  // Of the unit that begins with key `first` of the tile. to: [kUnitKeys]
  void gather(int first, float* to) const {
    for (int half = 0; half < kUnitKeys; half += kTogether) {
      const char* from = at_[(first + half) / kTogether];
      if (stride_ == int64_t{sizeof(float)}) {
        __builtin_memcpy(to + half, from, kTogether * sizeof(float));
        continue;
      }
      for (int j = 0; j < kTogether; ++j)
        __builtin_memcpy(to + half + j, from + j * stride_, sizeof(float));
    }
  }

 private:
  static constexpr int kTogether = 16;

  static const char* address(const PagedRows& rows, int key) {
    const int page = key / rows.page_size, offset = key - page * rows.page_size;
    return rows.scales + rows.pages[page] * rows.scale_page_stride +
           offset * rows.scale_token_stride;
  }

  int64_t stride_;
  const char* at_[kTileKeys / kTogether];
  float copies_[kTileKeys];
};

// A tile, and if all rows see all of it, where it lies.
struct CodeTile {
  SeenTile seen;
  bool is_whole = false;
  RowPointers keys, values;
  ScaleRows key_scales, value_scales;
};

// All rows of a tile. Touches the first lines of each stretch of memory, see locate of tile.inl.h.
inline void locate_whole(const PagedRows& rows, int start, RowPointers& pointers) {
  const int64_t stride = rows.token_stride;
  const int64_t reach = stride > kPrefetchReach ? stride : kPrefetchReach;
  const __m512i eight = _mm512_set1_epi64(8 * stride);
  const __m512i steps =
      _mm512_mullo_epi64(_mm512_set1_epi64(stride), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  int page = start / rows.page_size, offset = start - page * rows.page_size;
  for (int i = 0; i < kTileKeys; ++page, offset = 0) {
    const int count = smaller(kTileKeys - i, rows.page_size - offset);
    const char* row = rows.base + rows.pages[page] * rows.page_stride + offset * stride;
    for (int64_t at = 0; at < count * stride; at += reach) {
      prefetch(row + at);
      prefetch(row + at + 64);
    }
    __m512i next = _mm512_add_epi64(_mm512_set1_epi64(reinterpret_cast<int64_t>(row)), steps);
    for (const int stop = i + count; i < stop; next = _mm512_add_epi64(next, eight)) {
      const int some = smaller(stop - i, 8);
      _mm512_mask_storeu_epi64(pointers + i, static_cast<__mmask8>((1u << some) - 1), next);
      i += some;
    }
  }
}

// work(tile, next, later) for every tile of which some row sees a key, in order. next is null at
// the last; later is the one after it, or the last there is. The tile before is still there.
template <class Work>
inline void each_code_tile(const AttendTask& task, const Work& work) {
  constexpr int kAhead = 2, kKept = kAhead + 2;
  CodeTile tiles[kKept];
  uint64_t words[kKept][kMostRowsOfCodes];
  int count = 0;  // of those that were found
  SeenTile last = SeenTile::none(nullptr);
  const auto find = [&](int start) {
    CodeTile& tile = tiles[count % kKept];
    tile.seen = last.with(words[count % kKept]);
    if (!find_seen(task, start, tile.seen)) return false;
    last = tile.seen;
    ++count;
    tile.is_whole = last.any == ~uint64_t{0} && last.is_uniform() && last.first == 0 &&
                    last.last == task.num_rows;
    if (!tile.is_whole) return true;
    locate_whole(task.keys, last.start, tile.keys);
    locate_whole(task.values, last.start, tile.values);
    tile.key_scales.locate(task.keys, last.start);
    tile.value_scales.locate(task.values, last.start);
    return true;
  };
  bool more = find(task.key_begin);
  for (int i = 0; i < count; ++i) {
    while (more && count <= i + kAhead) more = find(last.start + kTileKeys);
    work(tiles[i % kKept], i + 1 < count ? &tiles[(i + 1) % kKept] : nullptr,
         tiles[(count - 1) % kKept]);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA

// Rows of a cache in any format, as numbers: one key or value of one token and head.
#pragma once

#include <span>

#include "../core/ids.h"
#include "../core/kv_format.h"
#include "element.h"

namespace pagoda::reference {

// Keys or values of a layer, with the scales that their format has.
struct Cache {
  const TensorView& rows;  // [num_pages, page_size, num_kv_heads, dim]
  const TensorView&
      scale;  // by format.scale: none, [heads], [pages, page_size, heads], [heads, dim]
  CacheFormat format;
  int32_t page_size;
};

// A row of a cache or of a call's tensor, restored element by element.
struct Row {
  const TensorView* elements;
  int64_t begin;                       // offset of element 0
  double scale = 1;                    // of all elements
  const TensorView* scales = nullptr;  // of single elements
  int64_t scales_begin = 0;

  double at(int64_t e) const {
    const double own = scales != nullptr ? load(*scales, scales_begin + e) : 1;
    return load(*elements, begin + e) * scale * own;
  }
};

Row row_at(const Cache& cache, Slot slot, int64_t head);

// The scale that a row of its own makes. x: [dim]
float scale_of(Code code, std::span<const float> x);

// Returns the scale.
float store_scale(const TensorView& scales, int64_t index, float scale);

// Rounds x to int8 or e4m3 codes at `begin`. x: [dim]
void encode_row(const TensorView& codes, int64_t begin, std::span<const float> x, float scale);

// Rounds x to the codes of a quantised format and writes them, with their scale where the writer
// makes one. x: [dim]
void write_row(const Cache& cache, Slot slot, int64_t head, std::span<const float> x);

}  // namespace pagoda::reference

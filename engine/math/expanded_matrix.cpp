#include "engine/math/expanded_matrix.h"

#include <algorithm>

namespace pagoda::engine {
namespace {

// Slices are whole column groups of oneDNN's order. There should be several for each thread, even
// of a narrow matrix, but wide ones mean fewer calls. These numbers change speed, never results.
constexpr int64_t kColumnGroup = 64;
constexpr int64_t kMaxSliceColumns = 256;
constexpr int64_t kSlicesWanted = 8;
constexpr int64_t kAlignment = 64;  // bytes

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return divide_up(a, b) * b;
}

int64_t slice_columns(int64_t num_outputs) {
  const int64_t wanted = round_up(divide_up(num_outputs, kSlicesWanted), kColumnGroup);
  return std::clamp(wanted, kColumnGroup, kMaxSliceColumns);
}

}  // namespace

ExpandedMatrix::ExpandedMatrix(Products& products, int64_t num_outputs, int64_t num_inputs,
                               const FillRows& fill)
    : products_(&products), num_outputs_(num_outputs), num_inputs_(num_inputs), memory_(0) {
  const int64_t columns = slice_columns(num_outputs);
  std::vector<int64_t> offsets;
  int64_t size = 0;
  for (int64_t first = 0; first < num_outputs; first += columns) {
    const SliceShape& shape =
        products.shapes().get(num_inputs, std::min(columns, num_outputs - first));
    slices_.push_back({.first = first, .shape = &shape, .packed = nullptr});
    offsets.push_back(size);
    size += round_up(shape.packed_bytes(), kAlignment);
  }
  memory_ = SystemMemory(static_cast<size_t>(size));
  products.threads().for_each(static_cast<int64_t>(slices_.size()), [&](int64_t i, int thread) {
    Slice& slice = slices_[static_cast<size_t>(i)];
    const int64_t count = slice.shape->num_outputs();
    float* const plain = products.scratch(thread, count * num_inputs);
    fill(slice.first, count, plain);
    std::byte* const packed = memory_.data() + offsets[static_cast<size_t>(i)];
    slice.shape->pack(plain, packed);
    slice.packed = packed;
  });
}

void ExpandedMatrix::prepare(int64_t num_rows) const {
  for (const Slice* slice : {&slices_.front(), &slices_.back()}) {
    const int tile = slice->shape->tile_rows();
    if (num_rows >= tile || !slice->shape->any_rows()) slice->shape->prepare(tile);
    if (slice->shape->any_rows() && num_rows % tile != 0)
      slice->shape->prepare(static_cast<int>(num_rows % tile));
  }
}

void ExpandedMatrix::multiply(const Team& team, const float* in, int64_t num_rows, float* out,
                              const ProductOptions& options) const {
  if (num_rows == 0) return;
  // A matrix of few slices is cut along the rows too.
  const auto num_slices = static_cast<int64_t>(slices_.size());
  const int64_t items_wanted = 2 * int64_t{team.size()};
  const int64_t row_parts = std::clamp(divide_up(items_wanted, num_slices), int64_t{1},
                                       divide_up(num_rows, kMaxTileRows));
  const int64_t part_rows = round_up(divide_up(num_rows, row_parts), kMaxTileRows);
  team.for_each(num_slices * row_parts, [&](int64_t item, int thread) {
    const int64_t first = item % row_parts * part_rows;
    const Rows rows = {.first = first, .count = std::min(part_rows, num_rows - first)};
    if (rows.count > 0)
      multiply_slice(slices_[static_cast<size_t>(item / row_parts)], rows, thread, in, out,
                     options);
  });
}

void ExpandedMatrix::multiply_slice(const Slice& slice, Rows rows, int thread, const float* in,
                                    float* out, const ProductOptions& options) const {
  const SliceShape& shape = *slice.shape;
  const int64_t columns = shape.num_outputs();
  const int64_t tile_rows = shape.tile_rows();
  const int64_t stride = options.out_stride > 0 ? options.out_stride : num_outputs_;
  float* const result = products_->scratch(thread, tile_rows * (columns + num_inputs_));
  float* const filled = result + tile_rows * columns;  // [tile_rows, num_inputs]

  for (int64_t row = 0; row < rows.count; row += tile_rows) {
    const int64_t count = std::min(tile_rows, rows.count - row);
    const float* tile_in = in + (rows.first + row) * num_inputs_;
    const int64_t called_with = shape.any_rows() ? count : tile_rows;
    if (called_with > count) {
      std::copy_n(tile_in, count * num_inputs_, filled);
      std::fill_n(filled + count * num_inputs_, (called_with - count) * num_inputs_, 0.0f);
      tile_in = filled;
    }
    shape.multiply(thread, static_cast<int>(called_with), tile_in, slice.packed, result);
    for (int64_t i = 0; i < count; i++) {
      float* const to = out + (rows.first + row + i) * stride + slice.first;
      float* const from = result + i * columns;
      if (options.bias)
        for (int64_t j = 0; j < columns; j++) from[j] += options.bias[slice.first + j];
      if (options.add_to_out)
        for (int64_t j = 0; j < columns; j++) to[j] += from[j];
      else
        std::copy_n(from, columns, to);
    }
  }
}

}  // namespace pagoda::engine

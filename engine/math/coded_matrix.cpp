#include "engine/math/coded_matrix.h"

#include <algorithm>
#include <array>

#include "engine/math/pack_panel.h"

namespace pagoda::engine {
namespace {

// These numbers change speed, never results.
constexpr int64_t kManyRows = 13;      // from here on tiles are faster than vectors
constexpr int64_t kRowsPerItem = 512;  // whose codes stay in a core's cache
constexpr int64_t kItemsPerThread = 4;

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

bool CodedMatrix::can_hold(std::span<const StoredPart> parts) {
  return std::all_of(parts.begin(), parts.end(), [](const StoredPart& part) {
    const int64_t group = traits(part.view.type).group_size;
    return panel_format(part.view.type) && part.first_column % group == 0 &&
           part.num_columns % group == 0;
  });
}

CodedMatrix::CodedMatrix(Products& products, std::span<const StoredPart> parts)
    : products_(&products), num_groups_(parts.front().num_columns / kGroupInputs) {
  for (const StoredPart& part : parts) pack(part);
}

void CodedMatrix::pack(const StoredPart& part) {
  const TypeTraits& type = traits(part.view.type);
  const PanelFormat format = panel_format(part.view.type).value();
  const int64_t stored_row = part.view.row_size() / type.group_size * type.group_bytes;
  const int64_t offset = part.first_column / type.group_size * type.group_bytes;
  const int64_t bytes = panel_bytes(format, num_groups_);
  const int64_t num_panels = divide_up(part.num_rows, kPanelColumns);
  uint8_t* const memory = products_->weight_memory(num_panels * bytes);
  const size_t before = panels_.size();
  panels_.resize(before + static_cast<size_t>(num_panels));
  products_->threads().for_each(num_panels, [&](int64_t i, int) {
    const int64_t first = i * kPanelColumns;
    const int64_t count = std::min<int64_t>(kPanelColumns, part.num_rows - first);
    std::array<const std::byte*, kPanelColumns> rows = {};
    for (int64_t row = 0; row < count; row++)
      rows[static_cast<size_t>(row)] =
          part.view.bytes.data() + (part.first_row + first + row) * stored_row + offset;
    pack_panel(part.view.type, std::span(rows).first(static_cast<size_t>(count)), num_groups_,
               memory + i * bytes);
    panels_[before + static_cast<size_t>(i)] = {
        .panel = panel_at(format, num_groups_, memory + i * bytes),
        .first = num_outputs_ + first,
        .num_columns = static_cast<int>(count)};
  });
  num_outputs_ += part.num_rows;
}

void CodedMatrix::multiply(const Team& team, const float* in, int64_t num_rows, float* out,
                           const ProductOptions& options) const {
  if (num_rows == 0) return;
  CodedRowBuffer& buffer = products_->coded_rows(team.thread());
  const CodedRows rows = buffer.code(products_->kernels(), team, in, num_rows, num_inputs());
  const auto num_panels = static_cast<int64_t>(panels_.size());
  const int64_t row_parts = divide_up(num_rows, kRowsPerItem);
  const int64_t panel_parts = std::min(num_panels, kItemsPerThread * team.size());
  team.for_each(row_parts * panel_parts, [&](int64_t item, int thread) {
    const int64_t row_part = item / panel_parts, panel_part = item % panel_parts;
    multiply_panels({.begin = num_panels * panel_part / panel_parts,
                     .end = num_panels * (panel_part + 1) / panel_parts},
                    {.begin = row_part * kRowsPerItem,
                     .end = std::min(num_rows, (row_part + 1) * kRowsPerItem)},
                    rows, thread, out, options);
  });
}

void CodedMatrix::multiply_panels(Range panels, Range row_range, const CodedRows& rows, int thread,
                                  float* out, const ProductOptions& options) const {
  const int64_t count = row_range.end - row_range.begin;
  const TileKernels* const tiles = count >= kManyRows ? products_->tiles() : nullptr;
  constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
  uint8_t* const scratch = reinterpret_cast<uint8_t*>(
      products_->scratch(thread, many_rows_scratch(num_groups_) / kFloatBytes));
  if (tiles != nullptr) tiles->begin();
  for (int64_t i = panels.begin; i < panels.end; i++) {
    const Placed& at = panels_[static_cast<size_t>(i)];
    const PanelOut to = {.data = out + at.first,
                         .stride = options.out_stride > 0 ? options.out_stride : num_outputs_,
                         .num_columns = at.num_columns,
                         .bias = options.bias ? options.bias + at.first : nullptr,
                         .add = options.add_to_out};
    if (tiles != nullptr)
      tiles->multiply(at.panel, rows, row_range.begin, count, to, scratch);
    else
      products_->kernels().multiply(at.panel, rows, row_range.begin, count, to);
  }
  if (tiles != nullptr) tiles->end();
}

}  // namespace pagoda::engine

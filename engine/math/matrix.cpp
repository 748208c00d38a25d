#include "engine/math/matrix.h"

#include <algorithm>
#include <vector>

#include "engine/formats/quants.h"

namespace pagoda::engine {
namespace {

using Form = std::variant<ExpandedMatrix, CodedMatrix>;

// Rows [first, first + count) of a part, as floats.
void expand_rows(const StoredPart& part, int64_t first, int64_t count, float* out) {
  const int64_t row_size = part.view.row_size();
  if (part.num_columns == row_size)
    return dequantize_rows(part.view, part.first_row + first, count,
                           std::span(out, static_cast<size_t>(count * row_size)));
  std::vector<float> row(static_cast<size_t>(row_size));
  for (int64_t i = first; i < first + count; i++, out += part.num_columns) {
    dequantize_rows(part.view, part.first_row + i, 1, row);
    std::copy_n(row.begin() + part.first_column, part.num_columns, out);
  }
}

Form make_form(Products& products, std::span<const StoredPart> parts) {
  if (!products.expand() && CodedMatrix::can_hold(parts))
    return Form(std::in_place_type<CodedMatrix>, products, parts);
  int64_t num_rows = 0;
  for (const StoredPart& part : parts) num_rows += part.num_rows;
  const int64_t num_inputs = parts.front().num_columns;
  const auto fill = [parts, num_inputs](int64_t first, int64_t count, float* out) {
    for (const StoredPart& part : parts) {
      const int64_t here = std::clamp<int64_t>(part.num_rows - first, 0, count);
      if (here > 0) expand_rows(part, first, here, out);
      out += here * num_inputs;
      count -= here;
      first = std::max<int64_t>(0, first - part.num_rows);
    }
  };
  return Form(std::in_place_type<ExpandedMatrix>, products, num_rows, num_inputs, fill);
}

}  // namespace

Matrix::Matrix(Products& products, int64_t num_outputs, int64_t num_inputs, const FillRows& fill)
    : products_(&products),
      form_(std::in_place_type<ExpandedMatrix>, products, num_outputs, num_inputs, fill) {}

Matrix::Matrix(Products& products, std::span<const StoredPart> parts)
    : products_(&products), form_(make_form(products, parts)) {}

int64_t Matrix::num_outputs() const {
  return std::visit([](const auto& form) { return form.num_outputs(); }, form_);
}
int64_t Matrix::num_inputs() const {
  return std::visit([](const auto& form) { return form.num_inputs(); }, form_);
}

void Matrix::multiply(const float* in, int64_t num_rows, float* out,
                      const ProductOptions& options) const {
  if (num_rows == 0) return;
  prepare(num_rows);
  multiply(Team(products_->threads()), in, num_rows, out, options);
}

void Matrix::multiply(const Team& team, const float* in, int64_t num_rows, float* out,
                      const ProductOptions& options) const {
  std::visit([&](const auto& form) { form.multiply(team, in, num_rows, out, options); }, form_);
}

void Matrix::prepare(int64_t num_rows) const {
  if (const auto* expanded = std::get_if<ExpandedMatrix>(&form_)) expanded->prepare(num_rows);
}

}  // namespace pagoda::engine

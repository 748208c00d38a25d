#include "engine/math/coded_rows.h"

#include <algorithm>

namespace pagoda::engine {
namespace {

constexpr int64_t kTileRows = 16;     // tile registers read so many rows, whether they count or not
constexpr int64_t kRowsPerItem = 16;  // changes speed, never results

int64_t tiles(int64_t num_rows) {
  return (num_rows + kTileRows - 1) / kTileRows * kTileRows;
}

}  // namespace

void CodedRowBuffer::reserve(int64_t num_rows, int64_t num_groups) {
  const int64_t wanted = tiles(num_rows) * num_groups;
  if (wanted <= capacity_) return;
  capacity_ = wanted;
  codes_ = Array<int8_t>(wanted * kGroupInputs);
  scales_ = Array<float>(wanted);
  sums_ = Array<float>(wanted);
  code_sums_ = Array<int32_t>(2 * wanted);
  std::fill_n(codes_.data(), codes_.size(), int8_t{0});
  std::fill_n(scales_.data(), wanted, 0.0f);
  std::fill_n(sums_.data(), wanted, 0.0f);
}

CodedRows CodedRowBuffer::code(const MathKernels& kernels, const Team& team, const float* in,
                               int64_t num_rows, int64_t num_inputs) {
  const int64_t num_groups = num_inputs / kGroupInputs;
  reserve(num_rows, num_groups);
  team.for_each((num_rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
    const int64_t end = std::min(num_rows, (item + 1) * kRowsPerItem);
    for (int64_t row = item * kRowsPerItem; row < end; row++) {
      const int64_t at = row * num_groups;
      kernels.code_row(in + row * num_inputs, num_groups, codes_.data() + at * kGroupInputs,
                       scales_.data() + at, sums_.data() + at, code_sums_.data() + 2 * at);
    }
  });
  return {num_groups, codes_.data(), scales_.data(), sums_.data(), code_sums_.data()};
}

}  // namespace pagoda::engine

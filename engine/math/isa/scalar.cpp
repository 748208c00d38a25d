// The kernels for any machine.
#include <cmath>
#include <cstring>

#include "engine/formats/quants.h"
#include "engine/math/convert.h"
#include "engine/math/isa/kernels.h"
#include "engine/math/ops.h"

namespace pagoda::engine::scalar {

#include "engine/math/isa/ops.inl.h"

namespace {

// A group of a panel, whatever its format.
struct Group {
  uint8_t codes[kGroupInputs][kPanelColumns];
  float scales[2][kPanelColumns];
  float minima[kPanelColumns];
};

float number_at(const uint8_t* bytes, int64_t index, bool is_half) {
  if (is_half) {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * index, sizeof(bits));
    return half_to_float(bits);
  }
  float value;
  std::memcpy(&value, bytes + 4 * index, sizeof(value));
  return value;
}

uint8_t code_at(const uint8_t* group, int code_bits, int input, int column) {
  const int vector = input / 4, lane = 4 * column + input % 4;
  if (code_bits == 8) return group[64 * vector + lane];
  const uint8_t both = group[64 * (vector % 4) + lane];
  const int low = vector < 4 ? both & 15 : both >> 4;
  if (code_bits == 4) return static_cast<uint8_t>(low);
  const int fifth = group[256 + 8 * vector + lane / 8] >> (lane % 8) & 1;
  return static_cast<uint8_t>(low | fifth << 4);
}

Group read_group(const Panel& panel, const PanelTraits& traits, int64_t index) {
  Group group;
  const uint8_t* const codes = panel.codes + index * traits.code_bytes();
  for (int input = 0; input < kGroupInputs; input++)
    for (int column = 0; column < kPanelColumns; column++)
      group.codes[input][column] = code_at(codes, traits.code_bits, input, column);
  for (int column = 0; column < kPanelColumns; column++) {
    for (int i = 0; i < 2; i++)
      group.scales[i][column] = number_at(
          panel.scales,
          (index * traits.scales_per_group + i % traits.scales_per_group) * kPanelColumns + column,
          traits.half_scales);
    group.minima[column] =
        traits.has_minima
            ? number_at(panel.minima, index * kPanelColumns + column, traits.half_scales)
            : 0.0f;
  }
  return group;
}

// One element more of a product: `sum` with a group added.
float add_group(float sum, const Group& group, const PanelTraits& traits, int column,
                const int8_t* codes, float scale, float code_sum) {
  int32_t dots[2] = {};
  for (int i = 0; i < kGroupInputs; i++)
    dots[i / (kGroupInputs / 2)] += (group.codes[i][column] - traits.offset) * codes[i];
  if (traits.scales_per_group == 1) {
    const auto dot = static_cast<float>(dots[0] + dots[1]);
    sum = std::fma(dot, group.scales[0][column] * scale, sum);
  } else {
    for (int i = 0; i < 2; i++)
      sum = std::fma(static_cast<float>(dots[i]), group.scales[i][column] * scale, sum);
  }
  return traits.has_minima ? std::fma(group.minima[column], code_sum, sum) : sum;
}

void finish(const PanelOut& out, int64_t row, int column, float sum) {
  float& to = out.data[row * out.stride + column];
  if (out.bias) sum += out.bias[column];
  to = out.add ? to + sum : sum;
}

void multiply(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
              const PanelOut& out) {
  constexpr int64_t kRows = 8;  // share what is read of a group
  const PanelTraits traits = panel_traits(panel.format);
  for (int64_t begin = first; begin < first + count; begin += kRows) {
    const int64_t end = begin + kRows < first + count ? begin + kRows : first + count;
    float sums[kRows][kPanelColumns] = {};
    for (int64_t g = 0; g < panel.num_groups; g++) {
      const Group group = read_group(panel, traits, g);
      for (int64_t row = begin; row < end; row++) {
        const int64_t at = row * rows.num_groups + g;
        for (int column = 0; column < out.num_columns; column++)
          sums[row - begin][column] =
              add_group(sums[row - begin][column], group, traits, column,
                        rows.codes + at * kGroupInputs, rows.scales[at], rows.sums[at]);
      }
    }
    for (int64_t row = begin; row < end; row++)
      for (int column = 0; column < out.num_columns; column++)
        finish(out, row, column, sums[row - begin][column]);
  }
}

}  // namespace

const MathKernels kKernels = {
    .name = "scalar",
    .code_row = code_row,
    .multiply = multiply,
    .rms_norm = rms_norm,
    .silu_times = silu_times,
    .rotate = rotate,
    .to_bfloats = to_bfloats,
    .from_bfloats = from_bfloats,
    .to_halves = floats_to_halves,
    .from_halves = halves_to_floats,
};

}  // namespace pagoda::engine::scalar

namespace pagoda::engine {

float fast_exp(float x) {
  return scalar::exp_of(x);
}

}  // namespace pagoda::engine

// The kernels for the Advanced SIMD instructions of every 64-bit ARM processor: a vector holds four
// inputs of four columns, a quarter of a panel.
#include <arm_neon.h>

#include "engine/math/isa/kernels.h"

namespace pagoda::engine::neon {

#include "engine/math/isa/ops.inl.h"

constexpr int kQuarter = 4;  // columns of a vector

template <bool kHalf>
inline float32x4_t load_numbers(const uint8_t* bytes, int64_t index) {
  if constexpr (kHalf) return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(bytes + 2 * index)));
  return vreinterpretq_f32_u8(vld1q_u8(bytes + 4 * index));
}

// 16 where one of the 16 bits is set.
inline uint8x16_t fifth_bits(const uint8_t* bits) {
  const uint8x16_t bit_of_lane{1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t spread = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));
  return vandq_u8(vtstq_u8(spread, bit_of_lane), vdupq_n_u8(16));
}

// A quarter of a panel's group as numbers from -128 to 127: codes less their offset.
//   codes: of the group
template <PanelFormat kFormat>
inline void unpack_group(const uint8_t* codes, int first_column, int8x16_t* weights) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  const uint8_t* const own = codes + 4 * first_column;
  uint8x16_t bytes[8];
  if constexpr (kTraits.code_bits == 8) {
    for (int v = 0; v < 8; v++) bytes[v] = vld1q_u8(own + 64 * v);
  } else {
    for (int v = 0; v < 4; v++) {
      const uint8x16_t both = vld1q_u8(own + 64 * v);
      bytes[v] = vandq_u8(both, vdupq_n_u8(15));
      bytes[v + 4] = vshrq_n_u8(both, 4);
    }
  }
  if constexpr (kTraits.code_bits == 5)
    for (int v = 0; v < 8; v++)
      bytes[v] = vorrq_u8(bytes[v], fifth_bits(codes + 256 + 8 * v + first_column / 2));
  for (int v = 0; v < 8; v++)
    weights[v] = vreinterpretq_s8_u8(vsubq_u8(bytes[v], vdupq_n_u8(kTraits.offset)));
}

// Four codes of a row, for each column.
inline int8x16_t load_four(const int8_t* codes) {
  int32_t four;
  __builtin_memcpy(&four, codes, sizeof(four));
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

// Sums of the code products of 16 inputs of each column. Two products are added in 16 bits, which
// hold twice 128 * 127.
inline int32x4_t dot_half(const int8x16_t* weights, const int8_t* codes) {
  int32x4_t low = vdupq_n_s32(0), high = low;
  for (int v = 0; v < 4; v += 2) {
    const int8x16_t a = load_four(codes + 4 * v), b = load_four(codes + 4 * v + 4);
    const int16x8_t products = vmull_s8(vget_low_s8(weights[v]), vget_low_s8(a));
    low = vpadalq_s16(low, vmlal_s8(products, vget_low_s8(weights[v + 1]), vget_low_s8(b)));
    high = vpadalq_s16(high, vmlal_high_s8(vmull_high_s8(weights[v], a), weights[v + 1], b));
  }
  return vpaddq_s32(low, high);
}

struct GroupScales {
  float32x4_t scale[2];
  float32x4_t minimum;
};

template <PanelFormat kFormat>
inline GroupScales load_scales(const Panel& panel, int64_t group, int first_column) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  GroupScales out;
  for (int i = 0; i < kTraits.scales_per_group; i++)
    out.scale[i] = load_numbers<kTraits.half_scales>(
        panel.scales, (group * kTraits.scales_per_group + i) * kPanelColumns + first_column);
  if constexpr (kTraits.has_minima)
    out.minimum =
        load_numbers<kTraits.half_scales>(panel.minima, group * kPanelColumns + first_column);
  return out;
}

template <PanelFormat kFormat>
inline float32x4_t add_group(float32x4_t sum, const int32x4_t* dots, const GroupScales& scales,
                             float row_scale, float row_sum) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  if constexpr (kTraits.scales_per_group == 1) {
    const float32x4_t dot = vcvtq_f32_s32(vaddq_s32(dots[0], dots[1]));
    sum = vfmaq_f32(sum, dot, vmulq_n_f32(scales.scale[0], row_scale));
  } else {
    for (int i = 0; i < 2; i++)
      sum = vfmaq_f32(sum, vcvtq_f32_s32(dots[i]), vmulq_n_f32(scales.scale[i], row_scale));
  }
  if constexpr (kTraits.has_minima) sum = vfmaq_n_f32(sum, scales.minimum, row_sum);
  return sum;
}

inline void finish_row(const PanelOut& out, int64_t row, int first_column, float32x4_t sum) {
  float sums[kQuarter];
  vst1q_f32(sums, sum);
  float* const to = out.data + row * out.stride;
  for (int i = 0; i < kQuarter && first_column + i < out.num_columns; i++) {
    float value = sums[i];
    if (out.bias) value += out.bias[first_column + i];
    to[first_column + i] = out.add ? to[first_column + i] + value : value;
  }
}

template <PanelFormat kFormat, int kRows>
void multiply_quarter(const Panel& panel, const CodedRows& rows, int64_t first, int first_column,
                      const PanelOut& out) {
  constexpr PanelTraits kTraits = panel_traits(kFormat);
  float32x4_t sums[kRows];
  for (int row = 0; row < kRows; row++) sums[row] = vdupq_n_f32(0);
  for (int64_t g = 0; g < panel.num_groups; g++) {
    int8x16_t weights[8];
    unpack_group<kFormat>(panel.codes + g * kTraits.code_bytes(), first_column, weights);
    const GroupScales scales = load_scales<kFormat>(panel, g, first_column);
    for (int row = 0; row < kRows; row++) {
      const int64_t at = (first + row) * rows.num_groups + g;
      const int8_t* const codes = rows.codes + at * kGroupInputs;
      const int32x4_t dots[2] = {dot_half(weights, codes), dot_half(weights + 4, codes + 16)};
      sums[row] = add_group<kFormat>(sums[row], dots, scales, rows.scales[at], rows.sums[at]);
    }
  }
  for (int row = 0; row < kRows; row++) finish_row(out, first + row, first_column, sums[row]);
}

template <PanelFormat kFormat>
void multiply_format(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                     const PanelOut& out) {
  for (int column = 0; column < out.num_columns; column += kQuarter) {
    int64_t row = first;
    const int64_t end = first + count;
    for (; row + 4 <= end; row += 4) multiply_quarter<kFormat, 4>(panel, rows, row, column, out);
    for (; row < end; row++) multiply_quarter<kFormat, 1>(panel, rows, row, column, out);
  }
}

#include "engine/math/isa/formats.inl.h"

void multiply(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
              const PanelOut& out) {
  kMultiply[static_cast<int>(panel.format)](panel, rows, first, count, out);
}

inline uint16x4_t to_half(float32x4_t numbers) {
  return vreinterpret_u16_f16(vcvt_f16_f32(numbers));
}
inline float32x4_t from_half(uint16x4_t halves) {
  return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

// Halves are what the machine converts by itself.
void to_halves(const float* in, int64_t size, uint16_t* out) {
  int64_t i = 0;
  for (; i + 4 <= size; i += 4) vst1_u16(out + i, to_half(vld1q_f32(in + i)));
  for (; i < size; i++) out[i] = vget_lane_u16(to_half(vdupq_n_f32(in[i])), 0);
}

void from_halves(const uint16_t* in, int64_t size, float* out) {
  int64_t i = 0;
  for (; i + 4 <= size; i += 4) vst1q_f32(out + i, from_half(vld1_u16(in + i)));
  for (; i < size; i++) out[i] = vgetq_lane_f32(from_half(vdup_n_u16(in[i])), 0);
}

extern const MathKernels kKernels = {
    .name = "neon",
    .code_row = code_row,
    .multiply = multiply,
    .rms_norm = rms_norm,
    .silu_times = silu_times,
    .rotate = rotate,
    .to_bfloats = to_bfloats,
    .from_bfloats = from_bfloats,
    .to_halves = to_halves,
    .from_halves = from_halves,
};

}  // namespace pagoda::engine::neon

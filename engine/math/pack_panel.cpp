#include "engine/math/pack_panel.h"

#include <cstring>

#include "engine/formats/stored_bytes.h"
#include "engine/math/convert.h"

namespace pagoda::engine {
namespace {

using Bytes = const uint8_t*;

// 32 stored elements of one row.
struct Group {
  uint8_t codes[kGroupInputs];
  float scales[2];
  float minimum;
};

void read_nibbles(Bytes nibbles, uint8_t* codes) {
  for (int i = 0; i < 16; i++) {
    codes[i] = nibbles[i] & 15;
    codes[i + 16] = nibbles[i] >> 4;
  }
}

void add_fifth_bits(uint32_t bits, uint8_t* codes) {
  for (int i = 0; i < kGroupInputs; i++)
    codes[i] = static_cast<uint8_t>(codes[i] | (bits >> i & 1) << 4);
}

void read_k_scales(Bytes super, int j, Group& group) {
  const ScaleAndMin packed = scale_and_min(super + 4, j);
  group.scales[0] = load_half(super) * packed.scale;
  group.minimum = -(load_half(super + 2) * packed.minimum);
}

// Two sub-groups share 32 bytes, one in the low and one in the high nibbles.
void read_k_nibbles(Bytes nibbles, int j, uint8_t* codes) {
  for (int i = 0; i < kGroupInputs; i++)
    codes[i] = static_cast<uint8_t>(nibbles[j / 2 * 32 + i] >> (j % 2 * 4) & 15);
}

void read_q5_k(Bytes super, int j, Group& group) {
  read_k_scales(super, j, group);
  read_k_nibbles(super + 48, j, group.codes);
  for (int i = 0; i < kGroupInputs; i++)
    group.codes[i] = static_cast<uint8_t>(group.codes[i] | (super[16 + i] >> j & 1) << 4);
}

// quants.cpp says where the bits lie.
void read_q6_k(Bytes super, int j, Group& group) {
  const int half = j / 4, quarter = j % 4;
  for (int i = 0; i < kGroupInputs; i++) {
    const int low = super[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
    const int top = super[128 + half * 32 + i] >> (quarter * 2) & 3;
    group.codes[i] = static_cast<uint8_t>(low | top << 4);
  }
  for (int i = 0; i < 2; i++)
    group.scales[i] =
        load_half(super + 208) * static_cast<float>(static_cast<int8_t>(super[192 + 2 * j + i]));
}

// The index-th 32 elements of a row.
void read_group(TensorType type, Bytes row, int64_t index, Group& group) {
  const TypeTraits& type_traits = traits(type);
  const int64_t per_stored = type_traits.group_size / kGroupInputs;
  const Bytes in = row + index / per_stored * type_traits.group_bytes;
  const auto j = static_cast<int>(index % per_stored);
  switch (type) {
    case TensorType::kQ4_1:
      group.minimum = load_half(in + 2);
      group.scales[0] = load_half(in);
      return read_nibbles(in + 4, group.codes);
    case TensorType::kQ4_0:
      group.scales[0] = load_half(in);
      return read_nibbles(in + 2, group.codes);
    case TensorType::kQ5_1:
      group.minimum = load_half(in + 2);
      group.scales[0] = load_half(in);
      read_nibbles(in + 8, group.codes);
      return add_fifth_bits(load<uint32_t>(in + 4), group.codes);
    case TensorType::kQ5_0:
      group.scales[0] = load_half(in);
      read_nibbles(in + 6, group.codes);
      return add_fifth_bits(load<uint32_t>(in + 2), group.codes);
    case TensorType::kQ8_0:
      group.scales[0] = load_half(in);
      for (int i = 0; i < kGroupInputs; i++) group.codes[i] = in[2 + i] ^ 128;  // plus 128
      return;
    case TensorType::kQ4_K:
      read_k_scales(in, j, group);
      return read_k_nibbles(in + 16, j, group.codes);
    case TensorType::kQ5_K:
      return read_q5_k(in, j, group);
    case TensorType::kQ6_K:
      return read_q6_k(in, j, group);
    default:
      return;
  }
}

void write_number(uint8_t* numbers, int64_t index, bool is_half, float value) {
  if (is_half) {
    const uint16_t bits = float_to_half(value);  // exact: it came from one
    std::memcpy(numbers + 2 * index, &bits, sizeof(bits));
  } else {
    std::memcpy(numbers + 4 * index, &value, sizeof(value));
  }
}

void write_codes(const Group& group, const PanelTraits& panel, int column, uint8_t* out) {
  for (int i = 0; i < kGroupInputs; i++) {
    const int vector = i / 4, lane = 4 * column + i % 4;
    const uint8_t code = group.codes[i];
    if (panel.code_bits == 8) {
      out[64 * vector + lane] = code;
      continue;
    }
    const int shift = vector < 4 ? 0 : 4;
    uint8_t& both = out[64 * (vector % 4) + lane];
    both = static_cast<uint8_t>(both | (code & 15) << shift);
    if (panel.code_bits == 4) continue;
    uint8_t& fifths = out[256 + 8 * vector + lane / 8];
    fifths = static_cast<uint8_t>(fifths | (code >> 4) << (lane % 8));
  }
}

}  // namespace

std::optional<PanelFormat> panel_format(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return PanelFormat::kQ4_0;
    case TensorType::kQ4_1:
      return PanelFormat::kQ4_1;
    case TensorType::kQ5_0:
      return PanelFormat::kQ5_0;
    case TensorType::kQ5_1:
      return PanelFormat::kQ5_1;
    case TensorType::kQ8_0:
      return PanelFormat::kQ8_0;
    case TensorType::kQ4_K:
      return PanelFormat::kQ4_K;
    case TensorType::kQ5_K:
      return PanelFormat::kQ5_K;
    case TensorType::kQ6_K:
      return PanelFormat::kQ6_K;
    default:
      return std::nullopt;
  }
}

void pack_panel(TensorType type, std::span<const std::byte* const> rows, int64_t num_groups,
                uint8_t* panel) {
  const PanelFormat format = panel_format(type).value();
  const PanelTraits traits = panel_traits(format);
  const Panel parts = panel_at(format, num_groups, panel);
  uint8_t* const scales = panel + (parts.scales - panel);
  uint8_t* const minima = panel + (parts.minima - panel);
  Group group = {};
  for (int64_t g = 0; g < num_groups; g++)
    for (size_t c = 0; c < rows.size(); c++) {
      const auto column = static_cast<int>(c);
      read_group(type, reinterpret_cast<Bytes>(rows[c]), g, group);
      write_codes(group, traits, column, panel + g * traits.code_bytes());
      for (int i = 0; i < traits.scales_per_group; i++)
        write_number(scales, (g * traits.scales_per_group + i) * kPanelColumns + column,
                     traits.half_scales, group.scales[i]);
      if (traits.has_minima)
        write_number(minima, g * kPanelColumns + column, traits.half_scales, group.minimum);
    }
}

}  // namespace pagoda::engine

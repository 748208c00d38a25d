// See quants.h. Each restore_ function takes one group; the layouts are those of the GGUF types:
//   Q4_0  d f16 | 16 bytes: element i in the low nibble of byte i, i+16 in the high | d (n - 8)
//   Q4_1  d f16, m f16 | likewise                                                   | d n + m
//   Q5_0  d f16 | fifth bits u32 | nibbles as Q4_0                                  | d (n - 16)
//   Q5_1  d f16, m f16 | fifth bits u32 | nibbles                                   | d n + m
//   Q8_0  d f16 | 32 x i8                                                           | d n
//   Q4_K  d f16, m f16 | 12 bytes: 8 scales and 8 minima of 6 bits | 128 bytes      | d s n - m t
//   Q5_K  as Q4_K, with 32 bytes of fifth bits before the nibbles                   | d s n - m t
//   Q6_K  128 bytes low, 64 bytes high | 16 x i8 scales | d f16                     | d s (n - 32)
#include "engine/formats/quants.h"

#include <bit>

#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/formats/stored_bytes.h"

namespace pagoda::engine {

float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in binary32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

float bfloat_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

namespace {

using Bytes = const uint8_t*;

void restore_f32(Bytes in, float* out) {
  out[0] = load<float>(in);
}
void restore_f16(Bytes in, float* out) {
  out[0] = load_half(in);
}
void restore_bf16(Bytes in, float* out) {
  out[0] = bfloat_to_float(load<uint16_t>(in));
}

void restore_q8_0(Bytes in, float* out) {
  const float d = load_half(in);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(in[2 + i]));
}

void restore_q4_0(Bytes in, float* out) {
  const float d = load_half(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((in[2 + i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((in[2 + i] >> 4) - 8);
  }
}

void restore_q4_1(Bytes in, float* out) {
  const float d = load_half(in);
  const float m = load_half(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(in[4 + i] & 15) + m;
    out[i + 16] = d * static_cast<float>(in[4 + i] >> 4) + m;
  }
}

// Element i of a 5-bit group: the nibble, and bit i of `fifth` above it.
int five_bits(Bytes nibbles, uint32_t fifth, int i) {
  const int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
  return low | static_cast<int>((fifth >> i) & 1) << 4;
}

void restore_q5_0(Bytes in, float* out) {
  const float d = load_half(in);
  const auto fifth = load<uint32_t>(in + 2);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(in + 6, fifth, i) - 16);
}

void restore_q5_1(Bytes in, float* out) {
  const float d = load_half(in);
  const float m = load_half(in + 2);
  const auto fifth = load<uint32_t>(in + 4);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(five_bits(in + 8, fifth, i)) + m;
}

// The nibble of element `lane` of sub-group j: two sub-groups of 32 share 32 bytes, low ones first.
int k_nibble(Bytes nibbles, int j, int lane) {
  const uint8_t byte = nibbles[j / 2 * 32 + lane];
  return j % 2 == 0 ? byte & 15 : byte >> 4;
}

void restore_q4_k(Bytes in, float* out) {
  const float d = load_half(in);
  const float m = load_half(in + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMin s = scale_and_min(in + 4, j);
    for (int i = 0; i < 32; ++i)
      out[j * 32 + i] = d * s.scale * static_cast<float>(k_nibble(in + 16, j, i)) - m * s.minimum;
  }
}

void restore_q5_k(Bytes in, float* out) {
  const float d = load_half(in);
  const float m = load_half(in + 2);
  const Bytes fifth = in + 16;  // bit j of byte i is that of element i of sub-group j
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMin s = scale_and_min(in + 4, j);
    for (int i = 0; i < 32; ++i) {
      const int n = k_nibble(in + 48, j, i) | (fifth[i] >> j & 1) << 4;
      out[j * 32 + i] = d * s.scale * static_cast<float>(n) - m * s.minimum;
    }
  }
}

void restore_q6_k(Bytes in, float* out) {
  const Bytes low = in;
  const Bytes high = in + 128;
  const Bytes scales = in + 192;
  const float d = load_half(in + 208);
  for (int i = 0; i < 256; ++i) {
    // Two halves of 128 with 64 low and 32 high bytes each. In a half, quarters 0 and 1 of 32
    // elements have the low nibbles of those 64 bytes, quarters 2 and 3 the high ones; a high byte
    // holds the top two bits of the same lane of all four quarters.
    const int half = i / 128, quarter = i % 128 / 32, lane = i % 32;
    const int nibble = low[half * 64 + quarter % 2 * 32 + lane] >> (quarter / 2 * 4) & 15;
    const int top = high[half * 32 + lane] >> (quarter * 2) & 3;
    const auto scale = static_cast<int8_t>(scales[i / 16]);
    out[i] = d * static_cast<float>(scale) * static_cast<float>((nibble | top << 4) - 32);
  }
}

using Restore = void (*)(Bytes, float*);

template <Restore restore>
void restore_all(Bytes in, float* out, int64_t groups, const TypeTraits& type) {
  for (int64_t g = 0; g < groups; ++g)
    restore(in + g * type.group_bytes, out + g * type.group_size);
}

}  // namespace

void dequantize(TensorType type, std::span<const std::byte> bytes, std::span<float> out) {
  const TypeTraits& t = traits(type);
  const auto groups = static_cast<int64_t>(out.size()) / t.group_size;
  const bool match = groups * t.group_size == static_cast<int64_t>(out.size()) &&
                     groups * t.group_bytes == static_cast<int64_t>(bytes.size());
  require(match, ErrorKind::kInvalidArgument, bytes.size(), " bytes of ", t.name, " are not ",
          out.size(), " elements");
  const auto* in = reinterpret_cast<Bytes>(bytes.data());
  switch (type) {
    case TensorType::kF32:
      return restore_all<restore_f32>(in, out.data(), groups, t);
    case TensorType::kF16:
      return restore_all<restore_f16>(in, out.data(), groups, t);
    case TensorType::kBf16:
      return restore_all<restore_bf16>(in, out.data(), groups, t);
    case TensorType::kQ4_0:
      return restore_all<restore_q4_0>(in, out.data(), groups, t);
    case TensorType::kQ4_1:
      return restore_all<restore_q4_1>(in, out.data(), groups, t);
    case TensorType::kQ5_0:
      return restore_all<restore_q5_0>(in, out.data(), groups, t);
    case TensorType::kQ5_1:
      return restore_all<restore_q5_1>(in, out.data(), groups, t);
    case TensorType::kQ8_0:
      return restore_all<restore_q8_0>(in, out.data(), groups, t);
    case TensorType::kQ4_K:
      return restore_all<restore_q4_k>(in, out.data(), groups, t);
    case TensorType::kQ5_K:
      return restore_all<restore_q5_k>(in, out.data(), groups, t);
    case TensorType::kQ6_K:
      return restore_all<restore_q6_k>(in, out.data(), groups, t);
    case TensorType::kI64:
      fail(ErrorKind::kUnsupported, "elements of the type I64 are no weights");
  }
}

void dequantize_rows(const TensorView& view, int64_t first_row, int64_t num_rows,
                     std::span<float> out) {
  const TypeTraits& type = traits(view.type);
  const int64_t all_rows = view.num_rows();
  const bool inside =
      first_row >= 0 && num_rows >= 0 && first_row <= all_rows && num_rows <= all_rows - first_row;
  require(inside, ErrorKind::kInvalidArgument, "rows ", first_row, " and ", num_rows,
          " more of tensor ", in_quotes(view.name), ", which has ", all_rows);
  const int64_t row_bytes = view.row_size() / type.group_size * type.group_bytes;
  dequantize(view.type,
             view.bytes.subspan(static_cast<size_t>(first_row * row_bytes),
                                static_cast<size_t>(num_rows * row_bytes)),
             out);
}

}  // namespace pagoda::engine

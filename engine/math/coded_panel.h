// Weights of 4 to 8 bits in the form that products read: panels of 16 columns, cut into groups of
// 32 inputs. A code stands for scale * (code - offset) + minimum; scale and minimum belong to a
// column's group (half a group in Q6_K). Nothing is rounded on the way from a file to a panel.
//
// The codes of a group lie as eight vectors of 64 bytes, vector v with inputs 4 v .. 4 v + 3 of all
// columns, column after column: what one instruction takes that multiplies bytes and adds them in
// fours. Formats of 4 bits keep vectors v and v + 4 in the low and high halves of one; those of 5
// bits have behind them the fifth bits, a word of 64 for each vector.
//
// This header is compiled for several instruction sets, so it includes nothing with functions.
#pragma once

#include <cstdint>

namespace pagoda::engine {

inline constexpr int kPanelColumns = 16;
inline constexpr int kGroupInputs = 32;

// Named after the stored types (formats/quants.h).
enum class PanelFormat { kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ4_K, kQ5_K, kQ6_K };
inline constexpr int kNumPanelFormats = 8;

struct PanelTraits {
  int code_bits;         // 4, 5 or 8
  int offset;            // taken from a code
  bool half_scales;      // scales and minima in binary16, else binary32
  bool has_minima;       // one for each group
  int scales_per_group;  // 1, or 2 of half a group

  constexpr int64_t code_bytes() const { return 64 * code_bits; }  // of a group
  constexpr int64_t scale_bytes() const {
    return int64_t{scales_per_group} * kPanelColumns * (half_scales ? 2 : 4);
  }
  constexpr int64_t minimum_bytes() const {
    return has_minima ? int64_t{kPanelColumns} * (half_scales ? 2 : 4) : 0;
  }
  constexpr int64_t group_bytes() const { return code_bytes() + scale_bytes() + minimum_bytes(); }
};

constexpr PanelTraits panel_traits(PanelFormat format) {
  switch (format) {
    case PanelFormat::kQ4_0:
      return {4, 8, true, false, 1};
    case PanelFormat::kQ4_1:
      return {4, 0, true, true, 1};
    case PanelFormat::kQ5_0:
      return {5, 16, true, false, 1};
    case PanelFormat::kQ5_1:
      return {5, 0, true, true, 1};
    case PanelFormat::kQ8_0:
      return {8, 128, true, false, 1};
    case PanelFormat::kQ4_K:
      return {4, 0, false, true, 1};
    case PanelFormat::kQ5_K:
      return {5, 0, false, true, 1};
    case PanelFormat::kQ6_K:
      return {8, 32, false, false, 2};
  }
  return {};
}

// A panel: all codes, then all scales, then all minima. Each part begins at a multiple of 64 bytes.
struct Panel {
  PanelFormat format;
  int64_t num_groups;
  const uint8_t* codes;   // [num_groups, code_bytes]
  const uint8_t* scales;  // [num_groups, scales_per_group, 16]
  const uint8_t* minima;  // [num_groups, 16]; nothing where the format has none
};

constexpr int64_t round_to_line(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

constexpr int64_t panel_bytes(PanelFormat format, int64_t num_groups) {
  const PanelTraits traits = panel_traits(format);
  return num_groups * traits.code_bytes() + round_to_line(num_groups * traits.scale_bytes()) +
         round_to_line(num_groups * traits.minimum_bytes());
}

constexpr Panel panel_at(PanelFormat format, int64_t num_groups, const uint8_t* bytes) {
  const PanelTraits traits = panel_traits(format);
  const uint8_t* const scales = bytes + num_groups * traits.code_bytes();
  return {format, num_groups, bytes, scales,
          scales + round_to_line(num_groups * traits.scale_bytes())};
}

// Rows of activations in 8 bits: an element is its group's scale times a code from -127 to 127.
struct CodedRows {
  int64_t num_groups;
  const int8_t* codes;       // [num_rows rounded up to 16, num_groups, 32]
  const float* scales;       // [num_rows, num_groups]
  const float* sums;         // [num_rows, num_groups] scale * sum of the codes
  const int32_t* code_sums;  // [num_rows, num_groups, 2] of the halves of a group
};

// Where the columns of a panel's product go.
struct PanelOut {
  float* data;        // [num_rows, num_columns], rows `stride` apart
  int64_t stride;     // elements
  int num_columns;    // at most 16
  const float* bias;  // [num_columns] or null
  bool add;           // to what is there
};

}  // namespace pagoda::engine

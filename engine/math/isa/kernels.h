// What is compiled once for each instruction set, as a table of functions. Every table gives the
// same bits: sums of codes are whole numbers, and sums of floats are added in one order, whose
// products are fused in every table.
//
// The units include no header with functions: an inline function compiled for one instruction set
// might be the one that the linker keeps for all machines (tools/check_isa_objects.py).
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/math/coded_panel.h"

namespace pagoda::engine {

struct MathKernels {
  const char* name;

  // The codes of one row, as in CodedRows. A group with a NaN or an infinity has such a scale.
  //   in [num_groups, 32]
  void (*code_row)(const float* in, int64_t num_groups, int8_t* codes, float* scales, float* sums,
                   int32_t* code_sums);

  // Rows [first, first + count) times a panel: for each group in its order
  //   out += (sum of code products) * (scale of weights * scale of activations), fused,
  //   out += minimum * sum of activations, fused.
  void (*multiply)(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                   const PanelOut& out);

  // ops.h says what these do.
  void (*rms_norm)(const float* in, const float* weight, float epsilon, int64_t size, float* out);
  void (*silu_times)(const float* gate, const float* up, int64_t size, float* out);

  // (x, y) -> (x cos - y sin, x sin + y cos) for the pairs of some heads, in place.
  //   heads [num_heads, head_dim]; cosines, sines [num_pairs]
  // Element i * step + partner of a head belongs to element i * step.
  void (*rotate)(float* heads, int64_t num_heads, int64_t head_dim, const float* cosines,
                 const float* sines, int64_t num_pairs, bool interleaved);

  // convert.h says what these do.
  void (*to_bfloats)(const float* in, int64_t size, uint16_t* out);
  void (*from_bfloats)(const uint16_t* in, int64_t size, float* out);
  void (*to_halves)(const float* in, int64_t size, uint16_t* out);
  void (*from_halves)(const uint16_t* in, int64_t size, float* out);
};

// Many rows times a panel, by the tile registers: same sums, same bits. A thread calls begin before
// its first product and end behind its last one.
struct TileKernels {
  void (*begin)();
  //   scratch [many_rows_scratch(num_groups)] aligned to 64
  void (*multiply)(const Panel& panel, const CodedRows& rows, int64_t first, int64_t count,
                   const PanelOut& out, uint8_t* scratch);
  void (*end)();
};

constexpr int64_t many_rows_scratch(int64_t num_groups) {
  return num_groups * kGroupInputs * kPanelColumns + 4 * 1024;
}

namespace scalar {
extern const MathKernels kKernels;
}
namespace avx2 {
extern const MathKernels kKernels;
}
namespace avx512 {
extern const MathKernels kKernels;
}
namespace amx {
extern const TileKernels kTileKernels;
}
namespace neon {
extern const MathKernels kKernels;
}

}  // namespace pagoda::engine

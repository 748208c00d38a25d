// Host and device. The table of attention kernels: one row, one kernel. What is not a column here
// is a run-time parameter.
#pragma once

#include <cstdint>

#include "../core/dtype.h"
#include "../core/kv_format.h"

namespace pagoda::cuda {

enum class Phase : uint8_t {
  decode,   // few rows per request, bound by memory; 9.0
  prefill,  // many rows, bound by arithmetic; 9.0
  mixed,    // both at once; 9.0
  rest,     // decode, beside and behind mixed; 9.0
  general,  // any rows, formats and masks; 8.0 and later
};

struct KernelConfig {
  Phase phase;
  Dtype dtype;  // of query, of out and of a cache whose code is `same`
  int32_t head_dim, head_dim_v;
  int32_t rows;                               // packed rows of an item (decode) or a tile
  Code key = Code::same, value = Code::same;  // of a decode kernel's cache
  constexpr bool operator==(const KernelConfig&) const = default;
};

// Packed rows of a tile of the general kernel: as many as registers hold.
constexpr int32_t general_rows(int32_t head_dim, int32_t head_dim_v) {
  return head_dim + head_dim_v > 256 ? 64 : 128;
}

inline constexpr KernelConfig kKernelConfigs[] = {
    // phase, dtype, head_dim, head_dim_v, rows
    {Phase::prefill, PAGODA_BF16, 64, 64, 128},
    {Phase::prefill, PAGODA_BF16, 80, 80, 128},
    {Phase::prefill, PAGODA_BF16, 96, 96, 128},
    {Phase::prefill, PAGODA_BF16, 128, 128, 128},
    {Phase::prefill, PAGODA_BF16, 192, 128, 128},
    {Phase::prefill, PAGODA_BF16, 192, 192, 128},
    {Phase::prefill, PAGODA_BF16, 256, 256, 128},
    {Phase::decode, PAGODA_BF16, 64, 64, 8},
    {Phase::decode, PAGODA_BF16, 64, 64, 16},
    {Phase::decode, PAGODA_BF16, 80, 80, 8},
    {Phase::decode, PAGODA_BF16, 80, 80, 16},
    {Phase::decode, PAGODA_BF16, 96, 96, 8},
    {Phase::decode, PAGODA_BF16, 128, 128, 8},
    {Phase::decode, PAGODA_BF16, 128, 128, 16},
    {Phase::decode, PAGODA_BF16, 192, 128, 8},
    {Phase::decode, PAGODA_BF16, 192, 192, 8},
    {Phase::decode, PAGODA_BF16, 256, 256, 8},
    {Phase::prefill, PAGODA_F16, 64, 64, 128},
    {Phase::prefill, PAGODA_F16, 80, 80, 128},
    {Phase::prefill, PAGODA_F16, 96, 96, 128},
    {Phase::prefill, PAGODA_F16, 128, 128, 128},
    {Phase::prefill, PAGODA_F16, 192, 128, 128},
    {Phase::prefill, PAGODA_F16, 192, 192, 128},
    {Phase::prefill, PAGODA_F16, 256, 256, 128},
    {Phase::decode, PAGODA_F16, 64, 64, 8},
    {Phase::decode, PAGODA_F16, 64, 64, 16},
    {Phase::decode, PAGODA_F16, 80, 80, 8},
    {Phase::decode, PAGODA_F16, 80, 80, 16},
    {Phase::decode, PAGODA_F16, 96, 96, 8},
    {Phase::decode, PAGODA_F16, 128, 128, 8},
    {Phase::decode, PAGODA_F16, 128, 128, 16},
    {Phase::decode, PAGODA_F16, 192, 128, 8},
    {Phase::decode, PAGODA_F16, 192, 192, 8},
    {Phase::decode, PAGODA_F16, 256, 256, 8},

    {Phase::decode, PAGODA_BF16, 64, 64, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 64, 64, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 64, 64, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_BF16, 80, 80, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 80, 80, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 80, 80, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_BF16, 96, 96, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 96, 96, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 96, 96, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_BF16, 128, 128, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 128, 128, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 128, 128, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_BF16, 192, 128, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 192, 128, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 192, 128, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_BF16, 192, 192, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 192, 192, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 192, 192, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_BF16, 256, 256, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_BF16, 256, 256, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_BF16, 256, 256, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 64, 64, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 64, 64, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 64, 64, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 80, 80, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 80, 80, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 80, 80, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 96, 96, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 96, 96, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 96, 96, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 128, 128, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 128, 128, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 128, 128, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 192, 128, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 192, 128, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 192, 128, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 192, 192, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 192, 192, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 192, 192, 8, Code::int8, Code::same},
    {Phase::decode, PAGODA_F16, 256, 256, 8, Code::e4m3, Code::e4m3},
    {Phase::decode, PAGODA_F16, 256, 256, 8, Code::int8, Code::int8},
    {Phase::decode, PAGODA_F16, 256, 256, 8, Code::int8, Code::same},

    {Phase::mixed, PAGODA_BF16, 64, 64, 128},
    {Phase::mixed, PAGODA_BF16, 128, 128, 128},
    {Phase::mixed, PAGODA_F16, 64, 64, 128},
    {Phase::mixed, PAGODA_F16, 128, 128, 128},

    {Phase::rest, PAGODA_BF16, 64, 64, 8},
    {Phase::rest, PAGODA_BF16, 128, 128, 8},
    {Phase::rest, PAGODA_F16, 64, 64, 8},
    {Phase::rest, PAGODA_F16, 128, 128, 8},

    {Phase::general, PAGODA_BF16, 64, 64, general_rows(64, 64)},
    {Phase::general, PAGODA_BF16, 80, 80, general_rows(80, 80)},
    {Phase::general, PAGODA_BF16, 96, 96, general_rows(96, 96)},
    {Phase::general, PAGODA_BF16, 128, 128, general_rows(128, 128)},
    {Phase::general, PAGODA_BF16, 192, 128, general_rows(192, 128)},
    {Phase::general, PAGODA_BF16, 192, 192, general_rows(192, 192)},
    {Phase::general, PAGODA_BF16, 256, 256, general_rows(256, 256)},
    {Phase::general, PAGODA_F16, 64, 64, general_rows(64, 64)},
    {Phase::general, PAGODA_F16, 80, 80, general_rows(80, 80)},
    {Phase::general, PAGODA_F16, 96, 96, general_rows(96, 96)},
    {Phase::general, PAGODA_F16, 128, 128, general_rows(128, 128)},
    {Phase::general, PAGODA_F16, 192, 128, general_rows(192, 128)},
    {Phase::general, PAGODA_F16, 192, 192, general_rows(192, 192)},
    {Phase::general, PAGODA_F16, 256, 256, general_rows(256, 256)},
};
inline constexpr int kNumKernelConfigs = sizeof(kKernelConfigs) / sizeof(kKernelConfigs[0]);

}  // namespace pagoda::cuda

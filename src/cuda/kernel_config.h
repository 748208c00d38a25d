// Host and device. The table of attention kernels: one row, one kernel. What is not a column here
// is a run-time parameter.
#pragma once

#include <cstdint>

#include "../core/dtype.h"

namespace pagoda::cuda {

enum class Phase : uint8_t {
  decode,   // few rows per request, bound by memory
  prefill,  // many rows, bound by arithmetic
};

struct KernelConfig {
  Phase phase;
  Dtype dtype;  // of query, cache and out
  int32_t head_dim, head_dim_v;
  int32_t rows;  // packed rows of an item (decode) or a tile (prefill)
  constexpr bool operator==(const KernelConfig&) const = default;
};

inline constexpr KernelConfig kKernelConfigs[] = {
    // phase, dtype, head_dim, head_dim_v, rows
    {Phase::prefill, PAGODA_BF16, 64, 64, 128},   {Phase::prefill, PAGODA_BF16, 80, 80, 128},
    {Phase::prefill, PAGODA_BF16, 96, 96, 128},   {Phase::prefill, PAGODA_BF16, 128, 128, 128},
    {Phase::prefill, PAGODA_BF16, 192, 128, 128}, {Phase::prefill, PAGODA_BF16, 192, 192, 128},
    {Phase::prefill, PAGODA_BF16, 256, 256, 128}, {Phase::decode, PAGODA_BF16, 64, 64, 8},
    {Phase::decode, PAGODA_BF16, 64, 64, 16},     {Phase::decode, PAGODA_BF16, 80, 80, 8},
    {Phase::decode, PAGODA_BF16, 80, 80, 16},     {Phase::decode, PAGODA_BF16, 96, 96, 8},
    {Phase::decode, PAGODA_BF16, 128, 128, 8},    {Phase::decode, PAGODA_BF16, 128, 128, 16},
    {Phase::decode, PAGODA_BF16, 192, 128, 8},    {Phase::decode, PAGODA_BF16, 192, 192, 8},
    {Phase::decode, PAGODA_BF16, 256, 256, 8},    {Phase::prefill, PAGODA_F16, 64, 64, 128},
    {Phase::prefill, PAGODA_F16, 80, 80, 128},    {Phase::prefill, PAGODA_F16, 96, 96, 128},
    {Phase::prefill, PAGODA_F16, 128, 128, 128},  {Phase::prefill, PAGODA_F16, 192, 128, 128},
    {Phase::prefill, PAGODA_F16, 192, 192, 128},  {Phase::prefill, PAGODA_F16, 256, 256, 128},
    {Phase::decode, PAGODA_F16, 64, 64, 8},       {Phase::decode, PAGODA_F16, 64, 64, 16},
    {Phase::decode, PAGODA_F16, 80, 80, 8},       {Phase::decode, PAGODA_F16, 80, 80, 16},
    {Phase::decode, PAGODA_F16, 96, 96, 8},       {Phase::decode, PAGODA_F16, 128, 128, 8},
    {Phase::decode, PAGODA_F16, 128, 128, 16},    {Phase::decode, PAGODA_F16, 192, 128, 8},
    {Phase::decode, PAGODA_F16, 192, 192, 8},     {Phase::decode, PAGODA_F16, 256, 256, 8},
};
inline constexpr int kNumKernelConfigs = sizeof(kKernelConfigs) / sizeof(kKernelConfigs[0]);

}  // namespace pagoda::cuda

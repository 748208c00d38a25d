// Device only. The end of a tile: rows, divided by their sums and rounded, to the output. The four
// threads that hold a row exchange columns until each has sixteen bytes of it.
#pragma once

#include "../device/element.cuh"
#include "prefill_rows.cuh"
#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

// Writes a row's lse and returns what its output is to be multiplied with. m: the reference of l,
// in base 2. The sink joins here, once.
__device__ inline float finish_state(const AttendParams& params, const TileRow& row,
                                     int query_start, float m, float l) {
  float scale = 1;
  if (params.sinks && row.real) {
    const float sink = kLog2e * params.sinks[row.query_head], before = m;
    m = finite_or_zero(fmaxf(m, sink));
    scale = exp2_approx(before - m);
    l = l * scale + exp2_approx(sink - m);
  }
  if (params.lse && threadIdx.x % 4 == 0 && row.real) {
    const int64_t at = row.query_head * params.lse_head_stride +
                       int64_t{query_start + row.token} * params.lse_token_stride;
    params.lse[at] = l == 0 ? -INFINITY : kLn2 * (m + log2f(l));
  }
  return l > 0 ? scale / l : (l == 0 ? 0 : l);  // NaN stays
}

__device__ inline uint8_t* out_of_row(const AttendParams& params, const TileRow& row,
                                      int query_start) {
  return static_cast<uint8_t*>(params.out) +
         int64_t{query_start + row.token} * params.out_token_stride +
         row.query_head * params.out_head_stride;
}

// Thread c of four gets part c of each.
__device__ inline void transpose_quad(uint32_t (&parts)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int k = 0; k < 4; k += 2) {
    const uint32_t got = __shfl_xor_sync(~0u, odd ? parts[k] : parts[k + 1], 1);
    (odd ? parts[k] : parts[k + 1]) = got;
  }
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const uint32_t got = __shfl_xor_sync(~0u, high ? parts[k] : parts[k + 2], 2);
    (high ? parts[k] : parts[k + 2]) = got;
  }
}

// Row g + 8 e of `o`, as wgmma leaves it, by the four threads that hold it.
template <class Tr>
__device__ void store_row(const float* o, float scale, uint8_t* out, bool real, int e) {
  const int c = threadIdx.x % 4;
#pragma unroll
  for (int first = 0; first < Tr::kHeadDimV; first += 32) {
    const int columns = min(32, Tr::kHeadDimV - first);
    uint32_t parts[4];  // of eight columns each: two of this thread's
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int i = first / 2 + 4 * k + 2 * e;
      parts[k] =
          8 * k < columns ? Element<typename Tr::Type>::pack(o[i] * scale, o[i + 1] * scale) : 0;
    }
    transpose_quad(parts);
    if (real && 8 * c < columns)
      *reinterpret_cast<uint4*>(out + 2 * first + 16 * c) =
          make_uint4(parts[0], parts[1], parts[2], parts[3]);
  }
}

}  // namespace pagoda::cuda::prefill

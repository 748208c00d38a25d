// Device only. The end of a tile: rows, divided by their sums and rounded, to the output. Where
// there is room for the queries of two tiles, a tile's rows take the place of its queries, row by
// row, and leave from there by the warps that bring queries. Otherwise, and behind a block's last
// tile, the four threads that hold a row exchange columns until each has sixteen bytes of it.
#pragma once

#include "../device/element.cuh"
#include "prefill_rows.cuh"
#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

// Row `index` of the tile with its sink. m: the reference of l, in base 2; returns what the output
// is to be multiplied with for the new one.
template <class Work>
__device__ float add_sink(const AttendParams& params, const Work& work, int index, float& m,
                          float& l) {
  const TileRow row(params, work.tile, work.head, index);
  if (!row.real) return 1;
  const float sink = kLog2e * params.sinks[row.query_head], before = m;
  m = finite_or_zero(fmaxf(m, sink));
  const float scale = exp2_approx(before - m);
  l = l * scale + exp2_approx(sink - m);
  return scale;
}

// scale / l; 0 for a row that saw nothing. NaN stays.
__device__ inline float divide(float scale, float l) {
  const float quotient = scale * rcp_approx(l);
  return l == 0 ? 0 : quotient;
}

__device__ inline float lse_of(float m, float l) {
  return kLn2 * (m + __log2f(l));  // -inf where l is 0
}

__device__ inline float* lse_at(const AttendParams& params, int token, int query_head) {
  return params.lse + query_head * params.lse_head_stride + token * params.lse_token_stride;
}

// By the four threads that hold row `index` of the tile.
template <class Work>
__device__ void write_lse(const AttendParams& params, const Work& work, int index, float lse) {
  if (params.lse == nullptr || threadIdx.x % 4 != 0) return;
  const TileRow row(params, work.tile, work.head, index);
  if (row.real) *lse_at(params, work.tile.query_start + row.token, row.query_head) = lse;
}

// Where row `index` of a tile goes.
__device__ inline uint8_t* out_of_row(const AttendParams& params, const TileRow& row,
                                      int query_start) {
  return static_cast<uint8_t*>(params.out) +
         int64_t{query_start + row.token} * params.out_token_stride +
         row.query_head * params.out_head_stride;
}

// ---- by way of shared memory ------------------------------------------------------------------

// The sixteen rows of a warp, of which the first is row `first` of the tile, as wgmma leaves them
// in `o`, to where its queries were. scale: of rows g and g + 8.
template <class Tr>
__device__ void stage_rows(uint8_t* queries, int first, const float* o, const float (&scale)[2]) {
  using E = Element<typename Tr::Type>;
  const uint32_t base = shared_address(queries);
  const int row = first + threadIdx.x % 16, half = threadIdx.x % 32 / 16;
#pragma unroll
  for (int chunk = 0; chunk < Tr::kHeadDimV / 8; chunk += 2) {
    const float* x = o + 4 * chunk;
    const uint32_t parts[4] = {
        E::pack(x[0] * scale[0], x[1] * scale[0]), E::pack(x[2] * scale[1], x[3] * scale[1]),
        E::pack(x[4] * scale[0], x[5] * scale[0]), E::pack(x[6] * scale[1], x[7] * scale[1])};
    stmatrix_x4(base + Tr::QueryTile::offset(row, chunk + half), parts);
  }
}

// Rows [first, end) of the tile, by one warp, eight lanes to a row.
template <class Tr>
__device__ void send_rows(const AttendParams& attend, const StagedRows& rows, const uint8_t* staged,
                          int first, int end) {
  constexpr int kLanes = 8;
  const uint32_t source = shared_address(staged);
  const int lane = threadIdx.x % 32, real_end = min(rows.end - rows.first, end);
#pragma unroll 2
  for (int row = first + lane / kLanes; row < real_end; row += 32 / kLanes) {
    const PackedRow packed(attend, rows.first + row, rows.head);
    uint8_t* out = static_cast<uint8_t*>(attend.out) +
                   int64_t{rows.query_start + packed.token} * attend.out_token_stride +
                   packed.query_head * attend.out_head_stride;
#pragma unroll
    for (int chunk = lane % kLanes; chunk < Tr::kHeadDimV / 8; chunk += kLanes)
      *reinterpret_cast<uint4*>(out + 16 * chunk) =
          load_shared_16(source + Tr::QueryTile::offset(row, chunk));
  }
}

// Likewise, the rows' lse.
template <class Tr>
__device__ void send_lse(const AttendParams& attend, const StagedRows& rows,
                         const typename Tr::Ranges& staged, int first, int end) {
  if (attend.lse == nullptr) return;
  const int real_end = min(rows.end - rows.first, end);
  for (int row = first + threadIdx.x % 32; row < real_end; row += 32) {
    const PackedRow packed(attend, rows.first + row, rows.head);
    *lse_at(attend, rows.query_start + packed.token, packed.query_head) = staged.of_row[row].lse;
  }
}

// ---- from registers -----------------------------------------------------------------------------

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

// Row g + 8 e of `o`, row `index` of the tile, by the four threads that hold it.
template <class Tr>
__device__ void store_row(const AttendParams& params, const typename Tr::Work& work, int index,
                          const float* o, float scale, int e) {
  const TileRow row(params, work.tile, work.head, index);
  uint8_t* out = out_of_row(params, row, work.tile.query_start);
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
    if (row.real && 8 * c < columns)
      *reinterpret_cast<uint4*>(out + 2 * first + 16 * c) =
          make_uint4(parts[0], parts[1], parts[2], parts[3]);
  }
}

}  // namespace pagoda::cuda::prefill

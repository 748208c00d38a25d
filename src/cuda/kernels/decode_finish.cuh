// Device only. The end of an item: four streams' states become output rows or a partial state, and the
// partial states of a request's splits become output rows.
#pragma once

#include "../device/element.cuh"
#include "../device/score.cuh"
#include "decode_stream.cuh"
#include "decode_traits.cuh"

namespace pagoda::cuda::decode {

// The state of one row over some keys, four columns of its output.
struct RowState {
  float m, l;
  float4 o;
};

__device__ inline void add(RowState& sum, const float4& o, float l, float weight) {
  sum.l += weight * l;
  sum.o.x += weight * o.x, sum.o.y += weight * o.y;
  sum.o.z += weight * o.z, sum.o.w += weight * o.w;
}

// Writes a finished row: the sink joins here, once.
template <class Tr>
__device__ void write_row(const AttendParams& params, const DecodeItem& item, int head, int row,
                          int column, RowState state) {
  const PackedRow packed(params, item.first_row + row, head);
  const int64_t token = item.query_start + packed.token;
  const int64_t query_head = packed.query_head;
  float m = state.m, l = state.l, scale = 1;
  if (params.sinks && !(item.flags & kItemIsPadding)) {
    const float sink = kLog2e * params.sinks[query_head];
    m = finite_or_zero(fmaxf(state.m, sink));
    scale = exp2_approx(state.m - m);
    l = l * scale + exp2_approx(sink - m);
  }
  scale = l > 0 ? scale / l : (l == 0 ? 0 : l);  // NaN stays
  uint2 packed_out;
  packed_out.x = Element<typename Tr::Type>::pack(state.o.x * scale, state.o.y * scale);
  packed_out.y = Element<typename Tr::Type>::pack(state.o.z * scale, state.o.w * scale);
  auto* out = static_cast<uint8_t*>(params.out) + token * params.out_token_stride +
              query_head * params.out_head_stride;
  *reinterpret_cast<uint2*>(out + 2 * column) = packed_out;
  if (params.lse && column == 0)
    params.lse[query_head * params.lse_head_stride + token * params.lse_token_stride] =
        l == 0 ? -INFINITY : kLn2 * (m + log2f(l));
}

// The partial states of an item's tile of rows, for one key head.
template <class Tr>
struct Partials {
  float* out;  // [num_rows, kHeadDimV] of the first split
  float2* ml;  // [num_rows]
  int64_t out_stride, ml_stride;  // elements from split to split

  __device__ Partials(const AttendParams& params, const DecodeItem& item, int head) {
    const int64_t first =
        static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head * item.num_rows;
    ml_stride = static_cast<int64_t>(params.num_kv_heads) * item.num_rows;
    out_stride = ml_stride * Tr::kHeadDimV;
    out = params.partial_out + first * Tr::kHeadDimV;
    ml = reinterpret_cast<float2*>(params.partial_ml) + first;
  }

  __device__ void write(int split, int row, int column, const RowState& state) const {
    float* to = out + split * out_stride + row * Tr::kHeadDimV + column;
    __stcg(reinterpret_cast<float4*>(to), state.o);
    if (column == 0) __stcg(ml + split * ml_stride + row, make_float2(state.m, state.l));
  }

  // The weights of the splits of rows first, first + step, ... below num_rows, by one warp: lane =
  // split. A tree over the splits' numbers, whoever wrote them and when.
  __device__ void weigh(typename Tr::Shared& shared, int num_splits, int num_rows, int first,
                        int step) const {
    const int split = threadIdx.x % 32;
    float2 part[Tr::kRows];
#pragma unroll
    for (int k = 0; k < Tr::kRows; ++k)
      part[k] = __ldcg(ml + min(split, num_splits - 1) * ml_stride +
                       min(first + k * step, num_rows - 1));
#pragma unroll
    for (int k = 0; k < Tr::kRows; ++k) {
      const int row = first + k * step;
      if (row >= num_rows) break;
      if (split >= num_splits) part[k] = make_float2(-INFINITY, 0);
      float m = part[k].x;
#pragma unroll
      for (int lanes = 1; lanes < 32; lanes *= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, lanes));
      const float weight = exp2_approx(part[k].x - finite_or_zero(m));
      float l = weight * part[k].y;
#pragma unroll
      for (int lanes = 1; lanes < 32; lanes *= 2) l += __shfl_xor_sync(~0u, l, lanes);
      shared.split_weight[row][split] = weight;
      if (split == 0) shared.merged_ml[row] = make_float2(m, l);
    }
  }

  // The weighted sum of the splits' outputs in their order. In batches whose loads are all under way
  // before the first is used, as each may take microseconds: so no load is conditional, and those
  // behind the last split repeat it.
  __device__ float4 sum(const typename Tr::Shared& shared, int num_splits, int row,
                        int column) const {
    constexpr int kBatch = 16;
    const float* from = out + row * Tr::kHeadDimV + column;
    float4 total = {};
    for (int first = 0; first < num_splits; first += kBatch) {
      float4 part[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        part[i] = __ldcg(reinterpret_cast<const float4*>(
            from + min(first + i, num_splits - 1) * out_stride));
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const float weight = shared.split_weight[row][first + i];
        const bool real = first + i < num_splits;
        total.x += real ? weight * part[i].x : 0, total.y += real ? weight * part[i].y : 0;
        total.z += real ? weight * part[i].z : 0, total.w += real ? weight * part[i].w : 0;
      }
    }
    return total;
  }
};

// Puts a stream's state where the others can read it. tiles: [kRowTiles]
template <class Tr>
__device__ void share_state(typename Tr::StateTile* tiles, const WarpState<Tr>& state) {
  const int stream = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n) {
    auto& tile = tiles[n];
#pragma unroll
    for (int d = 0; d < Tr::kHeadDimV / 16; ++d)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        tile.out[stream][2 * c + i % 2][16 * d + g + 8 * (i / 2)] = state.o[d][n][i];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float l = state.l[n][e];
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) l += __shfl_xor_sync(~0u, l, lanes);
      if (g == 0) tile.ml[stream][2 * c + e] = make_float2(state.m[n][e], l);
    }
  }
}

// The streams' states of one row, in the order of the streams.
template <class Tr>
__device__ RowState merge_streams(const typename Tr::StateTile& tile, int row, int column) {
  RowState sum{-INFINITY, 0, {}};
#pragma unroll
  for (int stream = 0; stream < Tr::kStreams; ++stream)
    sum.m = fmaxf(sum.m, tile.ml[stream][row].x);
  const float reference = finite_or_zero(sum.m);
#pragma unroll
  for (int stream = 0; stream < Tr::kStreams; ++stream) {
    const float2 part = tile.ml[stream][row];
    add(sum, *reinterpret_cast<const float4*>(&tile.out[stream][row][column]), part.y,
        exp2_approx(part.x - reference));
  }
  return sum;
}

// Shares the groups of four columns of an item's rows among the threads that finish it.
template <class Tr, class Visit>
__device__ void for_columns(int num_rows, int thread, int num_threads, Visit visit) {
  constexpr int kGroups = Tr::kHeadDimV / 4;
  for (int i = thread; i < num_rows * kGroups; i += num_threads)
    visit(i / kGroups, i % kGroups * 4);
}

// Writes what the streams' states amount to.
template <class Tr>
__device__ void write_item(const AttendParams& params, const DecodeItem& item, int head,
                           const typename Tr::StateTile* tiles, int thread, int num_threads) {
  const Partials<Tr> partials(params, item, head);
  for_columns<Tr>(item.num_rows, thread, num_threads, [&](int row, int column) {
    const RowState merged = merge_streams<Tr>(tiles[row / 8], row % 8, column);
    if (item.num_splits == 1)
      write_row<Tr>(params, item, head, row, column, merged);
    else
      partials.write(item.split, row, column, merged);
  });
}

// Reports that this item's partial state is written; returns how many were before it. By one thread,
// after a barrier of those that wrote.
__device__ inline uint32_t arrive(const AttendParams& params, const DecodeItem& item, int head) {
  return atomic_increment_release(
      params.arrivals + static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head);
}

// Merges the splits of an item's rows, by the threads of some warps; `meet` is their barrier.
template <class Tr, class Meet>
__device__ __noinline__ void merge_splits(const AttendParams& params, typename Tr::Shared& shared,
                                          const DecodeItem& item, int head, int thread,
                                          int num_threads, Meet meet) {
  fence_acq_rel_gpu();
  if (thread == 0)  // for the next launch
    params.arrivals[static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head] = 0;
  const Partials<Tr> partials(params, item, head);
  partials.weigh(shared, item.num_splits, item.num_rows, thread / 32, num_threads / 32);
  meet();
  for_columns<Tr>(item.num_rows, thread, num_threads, [&](int row, int column) {
    const float2 ml = shared.merged_ml[row];
    const float4 o = partials.sum(shared, item.num_splits, row, column);
    write_row<Tr>(params, item, head, row, column, {ml.x, ml.y, o});
  });
}

}  // namespace pagoda::cuda::decode

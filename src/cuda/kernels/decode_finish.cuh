// Device only. The end of an item: four streams' states merge into a leaf, leaves into their split,
// splits into their request, each in the order of keys, whoever does it and when.
#pragma once

#include "../device/element.cuh"
#include "decode_stream.cuh"
#include "decode_traits.cuh"
#include "score.cuh"

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

__device__ inline RowState empty_state() {
  return {-INFINITY, 0, {}};
}

// The state of a's keys and b's. Its rounding is spelled out: the same state comes about in several
// places. An empty b changes nothing.
__device__ inline RowState merge(const RowState& a, const RowState& b) {
  RowState sum;
  sum.m = fmaxf(a.m, b.m);
  const float reference = finite_or_zero(sum.m);
  const float of_a = exp2_approx(a.m - reference), of_b = exp2_approx(b.m - reference);
  sum.l = __fmaf_rn(of_b, b.l, __fmul_rn(of_a, a.l));
  sum.o.x = __fmaf_rn(of_b, b.o.x, __fmul_rn(of_a, a.o.x));
  sum.o.y = __fmaf_rn(of_b, b.o.y, __fmul_rn(of_a, a.o.y));
  sum.o.z = __fmaf_rn(of_b, b.o.z, __fmul_rn(of_a, a.o.z));
  sum.o.w = __fmaf_rn(of_b, b.o.w, __fmul_rn(of_a, a.o.w));
  return sum;
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
  scale = l > 0 ? __fdividef(scale, l) : (l == 0 ? 0 : l);  // NaN stays
  if constexpr (Tr::kValueCode != Code::same) unscale<Tr>(params, head, column, state.o);
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

// The partial states of an item's rows, for one key head.
template <class Tr>
struct Partials {
  float* out;                     // [num_rows, kHeadDimV] of the first piece
  float2* ml;                     // [num_rows]
  int64_t out_stride, ml_stride;  // elements from piece to piece

  __device__ Partials(const AttendParams& params, const DecodeItem& item, int head) {
    const int64_t first =
        static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head * item.num_rows;
    ml_stride = static_cast<int64_t>(params.num_kv_heads) * item.num_rows;
    out_stride = ml_stride * Tr::kHeadDimV;
    out = params.partial_out + first * Tr::kHeadDimV;
    ml = reinterpret_cast<float2*>(params.partial_ml) + first;
  }

  __device__ void write(int piece, int row, int column, const RowState& state) const {
    float* to = out + piece * out_stride + row * Tr::kHeadDimV + column;
    __stcg(reinterpret_cast<float4*>(to), state.o);
    if (column == 0) __stcg(ml + piece * ml_stride + row, make_float2(state.m, state.l));
  }
  __device__ RowState read(int piece, int row, int column) const {
    const float2 part = __ldcg(ml + piece * ml_stride + row);
    return {part.x, part.y,
            __ldcg(reinterpret_cast<const float4*>(out + piece * out_stride + row * Tr::kHeadDimV +
                                                   column))};
  }
};

// Which pieces of an item's rows there are: numbers below `end`, of which leaves may be missing.
struct Pieces {
  int end, last;  // last: of those that exist
  int first_split, split_len, leaf_len;
  KeyRange keys;

  __device__ explicit Pieces(const DecodeItem& item)
      : first_split(item.row_keys_begin / item.split_len),
        split_len(item.split_len),
        leaf_len(item.leaf_len),
        keys{item.row_keys_begin, item.row_keys_end} {
    const int num_splits = (keys.end - 1) / split_len - first_split + 1;
    const bool leaves = item.flags & kItemIsLeaf;
    end = leaves ? num_splits * kLeaves : num_splits;
    last = leaves ? end - kLeaves + (keys.end - 1) % split_len / leaf_len : end - 1;
  }
  __device__ bool has(int piece, bool is_leaf) const {
    return piece < end && (!is_leaf || has_leaf(piece));
  }
  __device__ bool has_leaf(int piece) const {
    const int in_split = piece % kLeaves * leaf_len;
    const int left =
        keys.end - (first_split + piece / kLeaves) * split_len;  // from the split's begin
    return in_split < min(split_len, left) &&
           min(in_split + leaf_len, split_len) > keys.begin - keys.end + left;
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
        tile.out[stream][2 * c + i % 2][16 * d + value_column<Tr>(g, i / 2)] = state.o[d][n][i];
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
#pragma unroll 1
  for (int i = recomputed(thread); i < num_rows * kGroups; i += num_threads)
    visit(i / kGroups, i % kGroups * 4);
}

// Merges the streams' states, a leaf, into the run: the split so far. turn: counts the leaves that
// the block has seen.
template <class Tr>
__device__ void merge_leaf(typename Tr::Shared& shared, const typename Tr::StateTile* tiles,
                           bool first, int num_rows, int turn, int thread, int num_threads) {
  for_columns<Tr>(num_rows, thread, num_threads, [&](int row, int column) {
    RowState run = empty_state();
    if (!first) {
      const float2 ml = shared.run_ml[turn & 1][row];
      run = {ml.x, ml.y, shared.run_out[row][column / 4]};
    }
    run = merge(run, merge_streams<Tr>(tiles[row / 8], row % 8, column));
    shared.run_out[row][column / 4] = run.o;
    if (column == 0) shared.run_ml[turn + 1 & 1][row] = make_float2(run.m, run.l);
  });
}

// Passes the run on at the end of a split, by the threads that merged its last leaf. An item of
// several splits keeps the request so far in its slots; `split` counts those in front of this one.
template <class Tr>
__device__ void finish_split(const AttendParams& params, const DecodeItem& item, int head,
                             typename Tr::Shared& shared, int split, bool last, int turn,
                             int thread, int num_threads) {
  const Partials<Tr> partials(params, item, head);
  for_columns<Tr>(item.num_rows, thread, num_threads, [&](int row, int column) {
    const float2 ml = shared.run_ml[turn & 1][row];
    RowState state{ml.x, ml.y, shared.run_out[row][column / 4]};
    if (item.num_pieces > 1) return partials.write(item.piece, row, column, state);
    if (split > 0) {
      const float2 so_far = shared.request_ml[split & 1][row];
      state = merge({so_far.x, so_far.y, partials.read(0, row, column).o}, state);
    }
    if (last) return write_row<Tr>(params, item, head, row, column, state);
    partials.write(0, row, column, state);
    if (column == 0) shared.request_ml[split + 1 & 1][row] = make_float2(state.m, state.l);
  });
}

// Reports that this item's partial state is written; returns how many were before it. By one
// thread, after a barrier of those that wrote.
__device__ inline uint32_t arrive(const AttendParams& params, const DecodeItem& item, int head) {
  return atomic_increment_release(
      params.arrivals + static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head);
}

// The pieces of one place (row, column), merged. In batches of kSplits splits whose loads are all
// under way before the first is used, as each may take microseconds: so no load is conditional, and
// those of pieces that do not exist repeat the last one.
template <class Tr, int kSplits, int kParts>
__device__ RowState merge_spot(const Partials<Tr>& partials, const Pieces& pieces, int row,
                               int column) {
  RowState total = empty_state();
#pragma unroll 1
  for (int first = 0; first < pieces.end; first += kSplits * kParts) {
    RowState part[kSplits * kParts];
#pragma unroll
    for (int i = 0; i < kSplits * kParts; ++i)
      part[i] =
          partials.read(pieces.has(first + i, kParts > 1) ? first + i : pieces.last, row, column);
#pragma unroll
    for (int s = 0; s < kSplits; ++s) {
      RowState split = empty_state();
#pragma unroll
      for (int i = s * kParts; i < (s + 1) * kParts; ++i) {
        const bool real = pieces.has(first + i, kParts > 1);
        split = merge(split, real ? part[i] : empty_state());
      }
      total = merge(total, split);
    }
  }
  return total;
}

template <class Tr, int kSplits, int kParts>
__device__ void merge_pieces(const AttendParams& params, const DecodeItem& item, int head,
                             int thread, int num_threads) {
  const Partials<Tr> partials(params, item, head);
  const Pieces pieces(item);
  for_columns<Tr>(item.num_rows, thread, num_threads, [&](int row, int column) {
    write_row<Tr>(params, item, head, row, column,
                  merge_spot<Tr, kSplits, kParts>(partials, pieces, row, column));
  });
}

// Merges the pieces of an item's rows into output rows.
template <class Tr>
__device__ void merge_item(const AttendParams& params, const DecodeItem& item, int head, int thread,
                           int num_threads) {
  fence_acq_rel_gpu();
  if (thread == 0)  // for the next launch
    params.arrivals[static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head] = 0;
  if (item.flags & kItemIsLeaf)
    merge_pieces<Tr, 1, kLeaves>(params, item, head, thread, num_threads);
  else
    merge_pieces<Tr, 4, 1>(params, item, head, thread, num_threads);
}

}  // namespace pagoda::cuda::decode

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

// A float as a word of a partial state: not what a word is before it is written.
__device__ inline uint32_t written(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits == kNotYet ? bits >> 1 : bits;
}
__device__ inline uint4 words_of(const float4& x) {
  return make_uint4(written(x.x), written(x.y), written(x.z), written(x.w));
}
__device__ inline float4 floats_of(const uint4& x) {
  return make_float4(__uint_as_float(x.x), __uint_as_float(x.y), __uint_as_float(x.z),
                     __uint_as_float(x.w));
}
__device__ inline bool is_written(const uint4& x) {
  return x.x != kNotYet && x.y != kNotYet && x.z != kNotYet && x.w != kNotYet;
}
__device__ inline bool is_written(const uint2& x) {
  return x.x != kNotYet && x.y != kNotYet;
}

// The partial states of an item's rows, for one key head.
template <class Tr>
using Partials = PartialStates<Tr::kHeadDimV>;

template <class Tr>
__device__ Partials<Tr> partials_of(const AttendParams& params, const DecodeItem& item, int head) {
  const int64_t first =
      static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head * item.num_rows;
  const int64_t stride = static_cast<int64_t>(params.num_kv_heads) * item.num_rows;
  return {.out = params.partial_out + first * Tr::kHeadDimV,
          .ml = reinterpret_cast<float2*>(params.partial_ml) + first,
          .out_stride = stride * Tr::kHeadDimV,
          .ml_stride = stride};
}

template <class Tr>
__device__ void write_partial(const Partials<Tr>& partials, int piece, int row, int column,
                              const RowState& state) {
  store_relaxed_16(partials.at(piece, row, column), words_of(state.o));
  if (column == 0)
    store_relaxed_8(partials.ml_at(piece, row), make_uint2(written(state.m), written(state.l)));
}
template <class Tr>
__device__ RowState read_partial(const Partials<Tr>& partials, int piece, int row, int column) {
  const float2 part = __ldcg(partials.ml_at(piece, row));
  return {part.x, part.y, __ldcg(reinterpret_cast<const float4*>(partials.at(piece, row, column)))};
}

// Which pieces of an item's rows there are: numbers below `end`, of which leaves may be missing.
struct Pieces {
  int parts;      // numbers of a split
  int end, last;  // last: of those that exist
  int first_split, split_len, leaf_len;
  KeyRange keys;

  __device__ explicit Pieces(const DecodeItem& item)
      : first_split(item.row_keys_begin / item.split_len),
        split_len(item.split_len),
        leaf_len(item.leaf_len),
        keys{item.row_keys_begin, item.row_keys_end} {
    const int num_splits = (keys.end - 1) / split_len - first_split + 1;
    parts = item.flags & kItemIsLeaf ? (split_len - 1) / leaf_len + 1 : 1;
    end = num_splits * parts;
    last = end - parts + (parts > 1 ? (keys.end - 1) % split_len / leaf_len : 0);
  }
  __device__ bool has(int piece) const {
    return piece < end && (parts == 1 || has_leaf(piece / parts, piece % parts));
  }
  __device__ bool has_leaf(int split, int leaf) const {
    const int in_split = leaf * leaf_len;
    const int left = keys.end - (first_split + split) * split_len;  // from its begin
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

// A leaf that the streams have shared.
struct Leaf {
  int tiles_at;                        // in Shared::states
  int turn;                            // counts the leaves that the block has seen
  int split;                           // splits of the item in front of this one
  bool is_first, ends_split, is_last;  // of its split; is_last: of the item
};

// Passes on a split. An item of several keeps the request so far in its slots.
template <class Tr>
__device__ void finish_split(const AttendParams& params, const DecodeItem& item, int head,
                             typename Tr::Shared& shared, const Leaf& leaf, int row, int column,
                             RowState state) {
  if constexpr (requires { shared.only; })
    if (item.num_pieces > 1 && (item.flags & kItemIsAlone)) {
      const auto& only = shared.only;
      return write_partial<Tr>(only.partials[only.set], item.piece, row, column, state);
    }
  const Partials<Tr> partials = partials_of<Tr>(params, item, head);
  if (item.num_pieces > 1) return write_partial<Tr>(partials, item.piece, row, column, state);
  if (leaf.split > 0) {
    const float2 so_far = shared.request_ml[leaf.split & 1][row];
    state = merge({so_far.x, so_far.y, read_partial<Tr>(partials, 0, row, column).o}, state);
  }
  if (leaf.is_last) return write_row<Tr>(params, item, head, row, column, state);
  write_partial<Tr>(partials, 0, row, column, state);
  if (column == 0) shared.request_ml[leaf.split + 1 & 1][row] = make_float2(state.m, state.l);
}

// Merges the streams' states into the run, the split so far.
template <class Tr>
__device__ void finish_leaf(const AttendParams& params, const DecodeItem& item, int head,
                            typename Tr::Shared& shared, const Leaf& leaf, int thread,
                            int num_threads) {
  for_columns<Tr>(item.num_rows, thread, num_threads, [&](int row, int column) {
    RowState run = empty_state();
    if (!leaf.is_first) {
      const float2 ml = shared.run_ml[leaf.turn & 1][row];
      run = {ml.x, ml.y, shared.run_out[row][column / 4]};
    }
    run = merge(run, merge_streams<Tr>(shared.states[leaf.tiles_at + row / 8], row % 8, column));
    shared.run_out[row][column / 4] = run.o;
    if (column == 0) shared.run_ml[leaf.turn + 1 & 1][row] = make_float2(run.m, run.l);
    if (leaf.ends_split) finish_split<Tr>(params, item, head, shared, leaf, row, column, run);
  });
}

// How many of an item's pieces have started (kItemIsAlone) or are written; and in the first bit
// which set of slots an item that is alone uses in this launch. It has two, by turns: what is read
// in one launch is made unwritten in the next, by those who have time.
inline constexpr uint32_t kSecondSet = 0x80000000u;
__device__ inline uint32_t* arrivals_of_item(const AttendParams& params, const DecodeItem& item,
                                             int head) {
  return params.arrivals + static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head;
}

// Reports that this item's partial state is written; returns how many were before it. By one
// thread, after a barrier of those that wrote.
__device__ inline uint32_t arrive(const AttendParams& params, const DecodeItem& item, int head) {
  return atomic_increment_release(arrivals_of_item(params, item, head));
}

// The splits of one place (row, column), merged. In batches whose loads are all under way before
// the first is used, as each may take microseconds: so no load is conditional, and those of pieces
// that do not exist repeat the last one.
template <class Tr>
__device__ RowState merge_splits(const Partials<Tr>& partials, const Pieces& pieces, int row,
                                 int column) {
  constexpr int kBatch = 4;
  RowState total = empty_state();
#pragma unroll 1
  for (int first = 0; first < pieces.end; first += kBatch) {
    RowState part[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i)
      part[i] = read_partial<Tr>(partials, min(first + i, pieces.last), row, column);
#pragma unroll
    for (int i = 0; i < kBatch; ++i)
      total = merge(total, first + i < pieces.end ? part[i] : empty_state());
  }
  return total;
}

// The same from leaves.
template <class Tr>
__device__ RowState merge_leaves(const Partials<Tr>& partials, const Pieces& pieces, int row,
                                 int column) {
  RowState total = empty_state();
#pragma unroll 1
  for (int split = 0; split * pieces.parts < pieces.end; ++split) {
    RowState part[kLeaves];
    const auto is_real = [&](int i) { return i < pieces.parts && pieces.has_leaf(split, i); };
#pragma unroll
    for (int i = 0; i < kLeaves; ++i)
      part[i] = read_partial<Tr>(partials, is_real(i) ? split * pieces.parts + i : pieces.last, row,
                                 column);
    RowState sum = empty_state();
#pragma unroll
    for (int i = 0; i < kLeaves; ++i) sum = merge(sum, is_real(i) ? part[i] : empty_state());
    total = merge(total, sum);
  }
  return total;
}

// Merges the pieces of an item's rows into output rows.
template <class Tr>
__device__ void merge_item(const AttendParams& params, const DecodeItem& item, int head, int thread,
                           int num_threads) {
  fence_acq_rel_gpu();
  if (thread == 0) *arrivals_of_item(params, item, head) = 0;  // for the next launch
  const Partials<Tr> partials = partials_of<Tr>(params, item, head);
  const Pieces pieces(item);
  for_columns<Tr>(item.num_rows, thread, num_threads, [&](int row, int column) {
    write_row<Tr>(params, item, head, row, column,
                  pieces.parts > 1 ? merge_leaves<Tr>(partials, pieces, row, column)
                                   : merge_splits<Tr>(partials, pieces, row, column));
  });
}

}  // namespace pagoda::cuda::decode

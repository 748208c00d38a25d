// Attention of few query rows over many keys: decoding, speculative decoding, short extensions.
// Memory bound: every key and value is read once, and all else is arranged so that reads never stop.
//
// An item is up to 8 * kRowTiles packed rows of one request against one split of its keys, for one
// key head. Blocks walk the list of items; their four warps share an item by taking every fourth
// tile of 16 keys, and are otherwise on their own: each has a ring of tiles in shared memory that it
// fills and empties itself, across the borders of items, so no warp waits for another while keys
// stream in. At the end of an item the four states meet in shared memory. A request of several splits
// leaves partial states, and the block that arrives last merges them in the order of the splits.
//
// The products are taken transposed, keys on the long side of the instruction:
//
//        S^T [16 keys, 8 rows]  = K [16, d] Q^T [d, 8]
//        O^T [d, 8 rows]       += V^T [d, 16] P^T [16, 8]
//
// so that eight rows, not sixteen, are the least that costs a full instruction. A thread holds keys
// g and g + 8 and rows 2 c and 2 c + 1 of S^T, with g = lane / 4 and c = lane % 4.
//
// What a row's bits depend on: its request's length, its own query, its keys. Which keys a warp takes
// is counted from key 0, the cuts from the length (core/splits.h), and rows do not meet.
#pragma once

#include <cstdint>

#include "../device/element.cuh"
#include "../device/paged_keys.cuh"
#include "../device/ptx.cuh"
#include "../device/score.cuh"
#include "../device/smem_tile.cuh"
#include "../schedule.h"

namespace pagoda::cuda::decode {

template <class T, int kHeadDim_, int kHeadDimV_, int kRowTiles_>
struct Traits {
  using Type = T;
  static constexpr int kHeadDim = kHeadDim_, kHeadDimV = kHeadDimV_, kRowTiles = kRowTiles_;
  static_assert(kHeadDim % 16 == 0 && kHeadDimV % 16 == 0);

  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kTileKeys = 16;
  static constexpr int kRows = 8 * kRowTiles;
  static constexpr int kKeyChunks = kHeadDim / 8, kValueChunks = kHeadDimV / 8;
  using KeyTile = RowTile<kKeyChunks>;
  using ValueTile = RowTile<kValueChunks>;

  static constexpr int kStageBytes = kTileKeys * (KeyTile::kRowBytes + ValueTile::kRowBytes);
  // These change speed, never results: two blocks share a multiprocessor where a ring of three
  // tiles per warp leaves room for them.
  static constexpr bool kTwoBlocks = 3 * kWarps * kStageBytes <= 96 * 1024;
  static constexpr int kRingBytes = (kTwoBlocks ? 96 : 192) * 1024;
  static constexpr int kStages = kRingBytes / (kWarps * kStageBytes);
  static_assert(kStages >= 2);

  // Two rows lie 8 banks apart, so that the transposed state is stored without conflicts.
  static constexpr int kMergePitch = kHeadDimV + 4;
  struct Shared {
    alignas(128) uint8_t ring[kWarps][kStages][kStageBytes];
    float out[kWarps][8][kMergePitch];
    float2 ml[kWarps][8];
    uint32_t arrivals_before;
  };
};

// A state in the making, of this warp's keys: m and l in base 2, o not yet divided by l.
template <class Tr>
struct WarpState {
  float o[Tr::kHeadDimV / 16][Tr::kRowTiles][4];
  float m[Tr::kRowTiles][2];
  float l[Tr::kRowTiles][2];  // of this thread's keys only

  __device__ void clear() {
#pragma unroll
    for (auto& d_tile : o)
      for (auto& tile : d_tile)
        for (float& value : tile) value = 0;
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      for (int e = 0; e < 2; ++e) m[n][e] = -INFINITY, l[n][e] = 0;
  }
};

// The warp's side of the ring that reads ahead: walks (item, tile) in the order in which compute will
// ask for them and copies one tile per call.
template <class Tr>
struct Loader {
  const AttendParams& params;
  const int num_items;  // of all key heads
  const uint32_t ring;  // shared address
  const int warp, lane;

  int index;              // item
  int tile, end_tile;     // of 16 keys
  int key_begin, key_end;
  PagedKeys keys;
  int64_t key_head, value_head;  // bytes
  int32_t page[2];               // of the two halves of `tile`
  int stage = 0, pending = 0;

  __device__ Loader(const AttendParams& params, int num_items, uint32_t ring)
      : params(params),
        num_items(num_items),
        ring(ring),
        warp(threadIdx.x / 32),
        lane(threadIdx.x % 32),
        index(blockIdx.x) {
    enter_item();
    find_tile();
    for (int i = 0; i < Tr::kStages; ++i) load_next();
  }

  __device__ void load_next() {
    if (index >= num_items) return;
    const uint32_t destination = ring + stage * Tr::kStageBytes;
    copy_rows<Tr::kKeyChunks, typename Tr::KeyTile>(destination, params.key, key_head);
    copy_rows<Tr::kValueChunks, typename Tr::ValueTile>(
        destination + Tr::kTileKeys * Tr::KeyTile::kRowBytes, params.value, value_head);
    cp_async_commit();
    stage = stage + 1 == Tr::kStages ? 0 : stage + 1;
    ++pending;
    tile += Tr::kWarps;
    find_tile();
  }

  // Blocks until the oldest tile has arrived.
  __device__ void wait() const {
    if (pending == Tr::kStages)
      cp_async_wait<Tr::kStages - 1>();
    else
      cp_async_wait<0>();
    __syncwarp();
  }

 private:
  __device__ void enter_item() {
    if (index >= num_items) return;
    const int heads = params.num_kv_heads;
    const DecodeItem& item = params.decode_items[index / heads];
    const int head = index % heads;
    key_begin = item.key_begin, key_end = item.key_end;
    const int first = key_begin / Tr::kTileKeys;
    tile = first + ((warp - first) & (Tr::kWarps - 1));
    end_tile = (key_end + Tr::kTileKeys - 1) / Tr::kTileKeys;
    if (tile >= end_tile) return;
    keys = PagedKeys(params, item.req);
    key_head = head * params.key.head_stride;
    value_head = head * params.value.head_stride;
  }

  // Leaves items that have no tile left for this warp; asks for the pages of the tile found, which
  // are not needed before the next load.
  __device__ void find_tile() {
    while (tile >= end_tile) {
      index += gridDim.x;
      if (index >= num_items) return;
      enter_item();
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int first = tile * Tr::kTileKeys + half * kKeysPerLookup;
      const bool used = first < key_end && first + kKeysPerLookup > key_begin;
      page[half] = used ? keys.page_of(first) : 0;
    }
  }

  // Rows that no query of the item sees become zeros: their bytes may be anything, NaN included,
  // and 0 * NaN would reach the output.
  template <int kChunks, class Tile>
  __device__ void copy_rows(uint32_t destination, const KeyView& view, int64_t head) const {
    const int first = tile * Tr::kTileKeys;
    const auto* base = static_cast<const uint8_t*>(view.data) + head;
    const uint8_t* half[2] = {base + keys.offset(view, page[0], first),
                              base + keys.offset(view, page[1], first + kKeysPerLookup)};
    constexpr int kCopies = Tr::kTileKeys * kChunks;
    static_assert(kCopies % 32 == 0);
#pragma unroll
    for (int i = 0; i < kCopies / 32; ++i) {
      const int copy = i * 32 + lane, row = copy / kChunks, chunk = copy % kChunks;
      const bool seen = first + row >= key_begin && first + row < key_end;
      const uint8_t* source = (row < 8 ? half[0] : half[1]) + (row & 7) * view.token_stride;
      cp_async_16(destination + Tile::offset(row, chunk), source + chunk * 16, seen);
    }
  }
};

// What a thread knows about the two rows of each row tile that it holds.
template <class Tr>
struct Rows {
  KeyRange seen[Tr::kRowTiles][2];  // keys; empty for rows that the item does not have
  int position[Tr::kRowTiles][2];
  float slope2[Tr::kRowTiles][2];
  int all_begin, all_end;  // keys that every row of the item sees

  __device__ Rows(const AttendParams& params, const DecodeItem& item, int head) {
    const Mask mask = mask_of_request(params.mask, item.flags & kItemIsCausal);
    const int context = item.seq_len - item.query_len;
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = item.first_row + 8 * n + 2 * c + e;
        const int token = row / params.group;
        position[n][e] = context + token;
        seen[n][e] = visible_keys(mask, position[n][e], item.seq_len);
        seen[n][e].begin = max(seen[n][e].begin, item.key_begin);
        seen[n][e].end = min(seen[n][e].end, item.key_end);
        const bool real = 8 * n + 2 * c + e < item.num_rows;
        slope2[n][e] = params.alibi_slopes && real
                           ? kLog2e * params.alibi_slopes[head * params.group + row % params.group]
                           : 0;
      }
    const KeyRange all = all_visible(
        mask, context + item.first_row / params.group,
        context + (item.first_row + item.num_rows - 1) / params.group, item.seq_len);
    all_begin = max(all.begin, item.key_begin);
    all_end = min(all.end, item.key_end);
  }
};

// Q^T as the second operand: element k = 16 s + 2 c + {0, 1} (+ 8) of row g.
template <class Tr>
__device__ void load_query(uint32_t (&q)[Tr::kRowTiles][Tr::kHeadDim / 16][2],
                           const AttendParams& params, const DecodeItem& item, int head) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n) {
    const int row = item.first_row + 8 * n + g;
    const bool real = 8 * n + g < item.num_rows;
    const int64_t token = item.query_start + row / params.group;
    const int64_t query_head = head * params.group + row % params.group;
    const auto* source = static_cast<const uint8_t*>(params.query) +
                         token * params.query_token_stride +
                         query_head * params.query_head_stride + 4 * c;
#pragma unroll
    for (int s = 0; s < Tr::kHeadDim / 16; ++s)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        q[n][s][half] =
            real ? __ldg(reinterpret_cast<const uint32_t*>(source + 32 * s + 16 * half)) : 0;
  }
}

// s = K Q^T for the 16 keys at `keys`.
template <class Tr>
__device__ void multiply_keys(float (&s)[Tr::kRowTiles][4], uint32_t keys,
                              const uint32_t (&q)[Tr::kRowTiles][Tr::kHeadDim / 16][2]) {
  const int lane = threadIdx.x % 32;
  float odd[Tr::kRowTiles][4];  // a second sum halves the chain of dependent instructions
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
    for (int i = 0; i < 4; ++i) s[n][i] = odd[n][i] = 0;
#pragma unroll
  for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
    uint32_t k[4];
    ldmatrix_x4(k, keys + Tr::KeyTile::offset(lane % 16, 2 * step + lane / 16));
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      Element<typename Tr::Type>::mma(step % 2 ? odd[n] : s[n], k, q[n][step][0], q[n][step][1]);
  }
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
    for (int i = 0; i < 4; ++i) s[n][i] += odd[n][i];
}

// From q . k to masked logits in base 2.
template <class Tr>
__device__ void finish_logits(float (&s)[Tr::kRowTiles][4], const Score2& score,
                              const Rows<Tr>& rows, int first_key) {
  const int g = threadIdx.x % 32 / 4;
  if (score.cap == 0 && score.alibi == Alibi::none) {
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      for (int i = 0; i < 4; ++i) s[n][i] *= score.scale;
  } else {
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      for (int i = 0; i < 4; ++i)
        s[n][i] = logit2(score, s[n][i], rows.slope2[n][i % 2], rows.position[n][i % 2],
                         first_key + g + 8 * (i / 2));
  }
  if (first_key >= rows.all_begin && first_key + Tr::kTileKeys <= rows.all_end) return;
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + g + 8 * (i / 2);
      const KeyRange& seen = rows.seen[n][i % 2];
      if (key < seen.begin || key >= seen.end) s[n][i] = -INFINITY;
    }
}

// Turns logits into weights against the running maximum, which it moves, and o with it.
template <class Tr>
__device__ void update_softmax(float (&s)[Tr::kRowTiles][4], WarpState<Tr>& state) {
  bool moved = false;
  float rescale[Tr::kRowTiles][2];
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float m = fmaxf(s[n][e], s[n][e + 2]);
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2)
        m = fmaxf(m, __shfl_xor_sync(~0u, m, lanes));
      m = fmaxf(m, state.m[n][e]);
      moved |= m != state.m[n][e];
      const float reference = finite_or_zero(m);
      rescale[n][e] = exp2_approx(state.m[n][e] - reference);
      state.m[n][e] = m;
      s[n][e] = exp2_approx(s[n][e] - reference);
      s[n][e + 2] = exp2_approx(s[n][e + 2] - reference);
    }
  if (__any_sync(~0u, moved)) {
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) state.l[n][e] *= rescale[n][e];
#pragma unroll
      for (int d = 0; d < Tr::kHeadDimV / 16; ++d)
        for (int i = 0; i < 4; ++i) state.o[d][n][i] *= rescale[n][i % 2];
    }
  }
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
    for (int e = 0; e < 2; ++e) state.l[n][e] += s[n][e] + s[n][e + 2];
}

// o += V^T P^T for the 16 keys at `values`.
template <class Tr>
__device__ void multiply_values(WarpState<Tr>& state, uint32_t values,
                                const float (&p)[Tr::kRowTiles][4]) {
  const int lane = threadIdx.x % 32;
  uint32_t weights[Tr::kRowTiles][2];
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      weights[n][half] = movmatrix_trans(
          Element<typename Tr::Type>::pack(p[n][2 * half], p[n][2 * half + 1]));
  const int row = lane % 8 + lane / 16 * 8, odd_chunk = lane / 8 % 2;
#pragma unroll
  for (int d = 0; d < Tr::kHeadDimV / 16; ++d) {
    uint32_t v[4];
    ldmatrix_x4_trans(v, values + Tr::ValueTile::offset(row, 2 * d + odd_chunk));
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      Element<typename Tr::Type>::mma(state.o[d][n], v, weights[n][0], weights[n][1]);
  }
}

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
  const int packed = item.first_row + row;
  const int64_t token = item.query_start + packed / params.group;
  const int64_t query_head = head * params.group + packed % params.group;
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
  float* out;  // [kRows, kHeadDimV] of the first split
  float2* ml;  // [kRows]
  int64_t out_stride, ml_stride;  // elements from split to split

  __device__ Partials(const AttendParams& params, const DecodeItem& item, int head) {
    const int64_t slot = static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head;
    out = params.partial_out + slot * Tr::kRows * Tr::kHeadDimV;
    ml = reinterpret_cast<float2*>(params.partial_ml) + slot * Tr::kRows;
    out_stride = static_cast<int64_t>(params.num_kv_heads) * Tr::kRows * Tr::kHeadDimV;
    ml_stride = static_cast<int64_t>(params.num_kv_heads) * Tr::kRows;
  }

  __device__ void write(int split, int row, int column, const RowState& state) const {
    float* to = out + split * out_stride + row * Tr::kHeadDimV + column;
    __stcg(reinterpret_cast<float4*>(to), state.o);
    if (column == 0) __stcg(ml + split * ml_stride + row, make_float2(state.m, state.l));
  }

  // All splits in their order, whoever wrote them and when.
  __device__ RowState merge(int num_splits, int row, int column) const {
    RowState sum{-INFINITY, 0, {}};
#pragma unroll 4
    for (int split = 0; split < num_splits; ++split)
      sum.m = fmaxf(sum.m, __ldcg(ml + split * ml_stride + row).x);
    const float reference = finite_or_zero(sum.m);
#pragma unroll 4
    for (int split = 0; split < num_splits; ++split) {
      const float2 part = __ldcg(ml + split * ml_stride + row);
      const float* from = out + split * out_stride + row * Tr::kHeadDimV + column;
      add(sum, __ldcg(reinterpret_cast<const float4*>(from)), part.y,
          exp2_approx(part.x - reference));
    }
    return sum;
  }
};

// Puts row tile n of this warp's state where the other warps can read it.
template <class Tr>
__device__ void share_state(typename Tr::Shared& shared, const WarpState<Tr>& state, int n) {
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int d = 0; d < Tr::kHeadDimV / 16; ++d)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      shared.out[warp][2 * c + i % 2][16 * d + g + 8 * (i / 2)] = state.o[d][n][i];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    float l = state.l[n][e];
#pragma unroll
    for (int lanes = 4; lanes < 32; lanes *= 2) l += __shfl_xor_sync(~0u, l, lanes);
    if (g == 0) shared.ml[warp][2 * c + e] = make_float2(state.m[n][e], l);
  }
}

// The warps' states of one row, in the order of the warps.
template <class Tr>
__device__ RowState merge_warps(const typename Tr::Shared& shared, int row, int column) {
  RowState sum{-INFINITY, 0, {}};
#pragma unroll
  for (int warp = 0; warp < Tr::kWarps; ++warp) sum.m = fmaxf(sum.m, shared.ml[warp][row].x);
  const float reference = finite_or_zero(sum.m);
#pragma unroll
  for (int warp = 0; warp < Tr::kWarps; ++warp) {
    const float2 part = shared.ml[warp][row];
    add(sum, *reinterpret_cast<const float4*>(&shared.out[warp][row][column]), part.y,
        exp2_approx(part.x - reference));
  }
  return sum;
}

// Calls visit(row, column) for every group of four columns that this thread is responsible for.
template <class Tr, class Visit>
__device__ void for_my_columns(int num_rows, Visit visit) {
  constexpr int kGroups = Tr::kHeadDimV / 4;
  for (int i = threadIdx.x; i < num_rows * kGroups; i += Tr::kThreads)
    visit(i / kGroups, i % kGroups * 4);
}

// Ends an item: the warps' states become output rows or a partial state.
template <class Tr>
__device__ void finish_item(const AttendParams& params, const DecodeItem& item, int head,
                            const WarpState<Tr>& state, typename Tr::Shared& shared) {
  const Partials<Tr> partials(params, item, head);
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n) {
    if (8 * n >= item.num_rows) break;
    __syncthreads();  // earlier states have been read
    share_state(shared, state, n);
    __syncthreads();
    for_my_columns<Tr>(min(8, item.num_rows - 8 * n), [&](int row, int column) {
      const RowState merged = merge_warps<Tr>(shared, row, column);
      if (item.num_splits == 1)
        write_row<Tr>(params, item, head, 8 * n + row, column, merged);
      else
        partials.write(item.split, 8 * n + row, column, merged);
    });
  }
  if (item.num_splits == 1) return;

  __syncthreads();
  uint32_t* arrivals =
      params.arrivals + static_cast<int64_t>(item.first_slot) * params.num_kv_heads + head;
  if (threadIdx.x == 0) {
    shared.arrivals_before = atomic_increment_acq_rel(arrivals);
    __threadfence();
  }
  __syncthreads();
  if (shared.arrivals_before + 1 != static_cast<uint32_t>(item.num_splits)) return;
  if (threadIdx.x == 0) *arrivals = 0;  // for the next launch
  for_my_columns<Tr>(item.num_rows, [&](int row, int column) {
    write_row<Tr>(params, item, head, row, column, partials.merge(item.num_splits, row, column));
  });
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, Tr::kTwoBlocks ? 2 : 1)
    attend_decode(const __grid_constant__ AttendParams params) {
  extern __shared__ uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Tr::Shared*>(memory);
  const int heads = params.num_kv_heads;
  const int num_items = params.schedule->num_decode_items * heads;
  if (blockIdx.x >= num_items) return;

  const uint32_t ring = shared_address(shared.ring[threadIdx.x / 32]);
  Loader<Tr> loader(params, num_items, ring);
  int stage = 0;
  WarpState<Tr> state;
  uint32_t q[Tr::kRowTiles][Tr::kHeadDim / 16][2];

  for (int index = blockIdx.x; index < num_items; index += gridDim.x) {
    const DecodeItem item = params.decode_items[index / heads];
    const int head = index % heads;
    load_query<Tr>(q, params, item, head);
    const Rows<Tr> rows(params, item, head);
    state.clear();

    const int first = item.key_begin / Tr::kTileKeys, warp = threadIdx.x / 32;
    for (int tile = first + ((warp - first) & (Tr::kWarps - 1)); tile * Tr::kTileKeys < item.key_end;
         tile += Tr::kWarps) {
      loader.wait();
      const uint32_t keys = ring + stage * Tr::kStageBytes;
      float s[Tr::kRowTiles][4];
      multiply_keys<Tr>(s, keys, q);
      finish_logits<Tr>(s, params.score, rows, tile * Tr::kTileKeys);
      update_softmax<Tr>(s, state);
      multiply_values<Tr>(state, keys + Tr::kTileKeys * Tr::KeyTile::kRowBytes, s);
      __syncwarp();  // all lanes have read the tile
      --loader.pending;
      loader.load_next();
      stage = stage + 1 == Tr::kStages ? 0 : stage + 1;
    }
    finish_item<Tr>(params, item, head, state, shared);
  }
}

}  // namespace pagoda::cuda::decode

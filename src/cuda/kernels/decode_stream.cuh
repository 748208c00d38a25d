// Device only. The arithmetic of a stream: one tile of keys and values against the rows of an item.
#pragma once

#include "../device/element.cuh"
#include "decode_quant.cuh"
#include "decode_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::decode {

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

// What a thread knows about the two rows of each row tile that it holds.
template <class Tr>
struct Rows {
  KeyRange seen[Tr::kRowTiles][2];  // keys; empty for rows that the item does not have
  int position[Tr::kRowTiles][2];
  float slope2[Tr::kRowTiles][2];
  int all_begin, all_end;  // keys that every row of the item sees

  Rows() = default;
  __device__ Rows(const AttendParams& params, const DecodeItem& item, int head) {
    const Mask mask = mask_of_request(params.mask, item.flags & kItemIsCausal);
    const int context = item.seq_len - item.query_len;
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int in_item = 8 * n + 2 * c + e;
        const PackedRow row(params, item.first_row + in_item, head);
        position[n][e] = context + row.token;
        seen[n][e] = visible_keys(mask, position[n][e], item.seq_len);
        seen[n][e].begin = max(seen[n][e].begin, item.key_begin);
        seen[n][e].end = min(seen[n][e].end, item.key_end);
        slope2[n][e] = params.alibi_slopes && in_item < item.num_rows
                           ? kLog2e * params.alibi_slopes[row.query_head]
                           : 0;
      }
    const KeyRange all = all_visible(
        mask, context + params.group.divide(item.first_row),
        context + params.group.divide(item.first_row + item.num_rows - 1), item.seq_len);
    all_begin = max(all.begin, item.key_begin);
    all_end = min(all.end, item.key_end);
  }
};

// Q^T as the second operand: element k = 16 s + 2 c + {0, 1} (+ 8) of row g.
template <class Tr>
using QueryFragments = uint32_t[Tr::kRowTiles][Tr::kHeadDim / 16][2];

template <class Tr>
__device__ void load_query(QueryFragments<Tr>& q, const uint8_t* query) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; ++step)
      if constexpr (Tr::kKeyCode != Code::same)
        load_query_for_codes<Tr>(q[n][step], query, 8 * n, step);
      else
        ldmatrix_x2(q[n][step],
                    shared_address(query) +
                        Tr::QueryTile::offset(8 * n + lane % 8, 2 * step + lane / 8 % 2));
}

// S^T of a tile, by sixteen keys.
template <class Tr>
using Scores = float[Tr::kSubs][Tr::kRowTiles][4];

// s = K Q^T for the 16 keys at `keys`.
template <class Tr>
__device__ void multiply_keys(float (&s)[Tr::kRowTiles][4], uint32_t keys,
                              const QueryFragments<Tr>& q) {
  float odd[Tr::kRowTiles][4];  // a second sum halves the chain of dependent instructions
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
    for (int i = 0; i < 4; ++i) s[n][i] = odd[n][i] = 0;
  for_key_steps<Tr>(keys, [&](int step, const uint32_t(&k)[4]) {
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      Element<typename Tr::Type>::mma(step % 2 ? odd[n] : s[n], k, q[n][step][0], q[n][step][1]);
  });
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
    for (int i = 0; i < 4; ++i) s[n][i] += odd[n][i];
}

// From q . k to masked logits in base 2, of sixteen keys.
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
  if (first_key >= rows.all_begin && first_key + 16 <= rows.all_end) return;
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
__device__ void update_softmax(Scores<Tr>& s, WarpState<Tr>& state) {
  bool moved = false;
  float rescale[Tr::kRowTiles][2];
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float m = fmaxf(s[0][n][e], s[0][n][e + 2]);
#pragma unroll
      for (int sub = 1; sub < Tr::kSubs; ++sub) m = fmaxf(m, fmaxf(s[sub][n][e], s[sub][n][e + 2]));
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, lanes));
      m = fmaxf(m, state.m[n][e]);
      moved |= m != state.m[n][e];
      const float reference = finite_or_zero(m);
      rescale[n][e] = exp2_approx(state.m[n][e] - reference);
      state.m[n][e] = m;
#pragma unroll
      for (auto& sub : s) {
        sub[n][e] = exp2_approx(sub[n][e] - reference);
        sub[n][e + 2] = exp2_approx(sub[n][e + 2] - reference);
      }
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
    for (int e = 0; e < 2; ++e)
      for (const auto& sub : s) state.l[n][e] += sub[n][e] + sub[n][e + 2];
}

// o += V^T P^T for the 16 keys at `values`.
template <class Tr>
__device__ void multiply_values(WarpState<Tr>& state, uint32_t values,
                                const float (&p)[Tr::kRowTiles][4]) {
  uint32_t weights[Tr::kRowTiles][2];
#pragma unroll
  for (int n = 0; n < Tr::kRowTiles; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      weights[n][half] =
          movmatrix_trans(Element<typename Tr::Type>::pack(p[n][2 * half], p[n][2 * half + 1]));
  for_value_steps<Tr>(values, [&](int d, const uint32_t(&v)[4]) {
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      Element<typename Tr::Type>::mma(state.o[d][n], v, weights[n][0], weights[n][1]);
  });
}

}  // namespace pagoda::cuda::decode

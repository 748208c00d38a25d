// Attention by mma.sync: any number of query rows, every cache format, block masks, and every chip
// from 8.0 on. It serves what the kernels of one chip do not, and is the plain one among them.
//
// A tile is 128 packed rows of one request for one key head (64 of long rows), shared by four
// warps; blocks go through the list with a stride, so which block has which tile changes no bit.
// While 32 keys are multiplied, the next ones come in:
//
//   wait, meet | ask for tile n + 1 | codes to rows, meet | S = Q K^T | softmax | O += P V
//
// Keys are visited from the first to the last, counted from key 0; of a block mask, only tiles that
// show something. A thread holds rows g and g + 8 of each sixteen of its warp's, and of every eight
// columns those at 2 c and 2 c + 1, with g = lane / 4 and c = lane % 4.
#pragma once

#include <type_traits>

#include "../device/element.cuh"
#include "general_loader.cuh"
#include "general_mask.cuh"
#include "score.cuh"

namespace pagoda::cuda::general {

// What a warp knows about its rows while it visits keys. What few tiles of keys ask for is computed
// again: registers are short.
template <class Tr>
struct Rows {
  int first;  // packed row
  bool any;   // whether there are rows

  __device__ Rows(const AttendParams& params, typename Tr::Shared& shared,
                  const PrefillTile& tile) {
    const int context = tile.seq_len - tile.query_len;
    const int num_rows = tile.query_len * params.group.value;
    first = tile.first_row + static_cast<int>(threadIdx.x) / 32 * Tr::kWarpRows;
    any = first < num_rows;
    const int last = max(min(first + Tr::kWarpRows, num_rows) - 1, first);
    const KeyRange all = all_visible(mask_of_request(params.mask, tile.flags & kItemIsCausal),
                                     context + params.group.divide(first),
                                     context + params.group.divide(last), tile.seq_len);
    if (threadIdx.x % 32 == 0)  // read behind the meeting that each tile of keys has
      shared.seen_by_all[threadIdx.x / 32] = {max(all.begin, tile.key_begin),
                                              min(all.end, tile.key_end)};
  }
  // Row g + 8 e of the t-th sixteen.
  __device__ int packed(int t, int e) const {
    return first + 16 * t + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * e;
  }
};

template <class Tr>
class Worker {
 public:
  __device__ Worker(const AttendParams& params, typename Tr::Shared& shared)
      : params_(params), shared_(shared), loader_(params, shared) {}

  __device__ void attend(const PrefillTile& tile, int head) {
    const Rows<Tr> rows(params_, shared_, tile);
    clear();
    if (tile.key_begin < tile.key_end) {
      load_query(tile, head);
      if (params_.block_mask.tile_start)
        visit_shown(rows, tile, head);
      else
        visit_all(rows, tile, head);
      cp_async_wait<0>();
      __syncthreads();  // the next tile's copies overwrite what this one's readers read
    }
    finish(tile, head);
  }

 private:
  static constexpr int kScores = Tr::kKeys / 8, kColumns = Tr::kHeadDimV / 8;  // of eight each
  // See decode_quant.cuh: keeps small scales of f16 values out of the subnormals.
  static constexpr float kWeightFactor = std::is_same_v<typename Tr::Type, __half> ? 64 : 1;

  __device__ void clear() {
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t) {
#pragma unroll
      for (auto& tile : o_[t])
        for (float& o : tile) o = 0;
      m_[t][0] = m_[t][1] = -INFINITY;
      l_[t][0] = l_[t][1] = 0;
    }
  }

  // Rows behind the last become zeros.
  __device__ void load_query(const PrefillTile& tile, int head) const {
    constexpr int kChunks = Tr::kHeadDim / 8, kLanes = 8;
    const uint32_t destination = shared_address(shared_.query);
    for (int row = threadIdx.x / kLanes; row < Tr::kRows; row += Tr::kThreads / kLanes) {
      const bool real = tile.first_row + row < tile.query_len * params_.group.value;
      const PackedRow packed(params_, tile.first_row + (real ? row : 0), head);
      const auto* source = static_cast<const uint8_t*>(params_.query) +
                           int64_t{tile.query_start + packed.token} * params_.query_token_stride +
                           packed.query_head * params_.query_head_stride;
#pragma unroll
      for (int chunk = threadIdx.x % kLanes; chunk < kChunks; chunk += kLanes)
        cp_async_16(destination + Tr::KeyTile::offset(row, chunk), source + 16 * chunk, real);
    }
  }

  __device__ void visit_all(const Rows<Tr>& rows, const PrefillTile& tile, int head) {
    const KeyTiles<Tr> tiles(tile);
    visit<false>(rows, tile, head, tiles.first, tiles.end,
                 [](int index, int, int) { return index; });
  }
  __device__ void visit_shown(const Rows<Tr>& rows, const PrefillTile& tile, int head) {
    const KeyTiles<Tr> tiles(tile);
    MaskWalk<Tr> walk(params_, shared_, tile, head);
    visit<true>(rows, tile, head, tiles.first, tiles.end,
                [&](int index, int end, int stage) { return walk.find(index, end, stage); });
  }

  // find(index, end, slot): the first tile of keys from `index` on to visit. Tiles are known two
  // ahead, so that their page ids are there when they are asked for.
  template <bool kMasked, class Find>
  __device__ void visit(const Rows<Tr>& rows, const PrefillTile& tile, int head, int first, int end,
                        Find find) {
    const PagedKeys keys(params_, tile.req);
    int index = find(first, end, 0), next = find(index + 1, end, 1);
    if (index < end) loader_.load(loader_.look_up(keys, tile, index), tile, head, index, 0);
    cp_async_commit();
    auto place = loader_.look_up(keys, tile, next);
    for (int stage = 0, words = 0; index < end; stage ^= 1, words = words == 2 ? 0 : words + 1) {
      cp_async_wait<0>();
      __syncthreads();
      if (next < end) loader_.load(place, tile, head, next, stage ^ 1);
      cp_async_commit();
      const int after = find(next + 1, end, words == 0 ? 2 : words - 1);
      place = loader_.look_up(keys, tile, after);
      if (loader_.has_codes()) {
        loader_.widen(stage);
        __syncthreads();
      }
      if (rows.any) {
        multiply_keys(loader_.key_rows(stage));
        finish_logits(rows, tile, head, index, stage);
        if constexpr (kMasked) hide(words);
        update_softmax();
        scale_weights(stage);
        multiply_values(loader_.value_rows(stage));
      }
      index = next, next = after;
    }
  }

  // s = Q K^T
  __device__ void multiply_keys(uint32_t keys) {
    const int lane = threadIdx.x % 32;
    const int first_row = threadIdx.x / 32 * Tr::kWarpRows;
    const uint32_t query = shared_address(shared_.query);
#pragma unroll
    for (auto& rows : s_)
      for (auto& tile : rows)
        for (float& s : tile) s = 0;
#pragma unroll Tr::kHeadDim> 192 ? 2 : 16  // no more registers for addresses than there are
    for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
      uint32_t q[Tr::kRowTiles][4];
#pragma unroll
      for (int t = 0; t < Tr::kRowTiles; ++t)
        ldmatrix_x4(q[t], query + Tr::KeyTile::offset(first_row + 16 * t + lane % 16,
                                                      2 * step + lane / 16));
#pragma unroll
      for (int n = 0; n < kScores; n += 2) {
        uint32_t k[4];
        ldmatrix_x4(k, keys + Tr::KeyTile::offset(8 * n + lane % 8 + lane / 16 * 8,
                                                  2 * step + lane / 8 % 2));
#pragma unroll
        for (int t = 0; t < Tr::kRowTiles; ++t) {
          Element<typename Tr::Type>::mma(s_[t][n], q[t], k[0], k[1]);
          Element<typename Tr::Type>::mma(s_[t][n + 1], q[t], k[2], k[3]);
        }
      }
    }
  }

  // From q . k to logits in base 2 that the built-in mask lets through.
  __device__ void finish_logits(const Rows<Tr>& rows, const PrefillTile& tile, int head, int index,
                                int stage) {
    if (params_.key_scale.data) {
      const float* scale = shared_.key_scale[stage] + 2 * (threadIdx.x % 4);
      for_scores([&](int, int n, int i, float& s) { s *= scale[8 * n + i % 2]; });
    }
    const Score2& score = params_.score;
    if (score.cap == 0 && score.alibi == Alibi::none)
      for_scores([&](int, int, int, float& s) { s *= score.scale; });
    else
      apply_score(rows, tile, head, index);
    const KeyRange all = shared_.seen_by_all[threadIdx.x / 32];
    if (index * Tr::kKeys < all.begin || (index + 1) * Tr::kKeys > all.end)
      hide_unseen(rows, tile, index);
  }

  __device__ void apply_score(const Rows<Tr>& rows, const PrefillTile& tile, int head, int index) {
    const int first = index * Tr::kKeys + 2 * (threadIdx.x % 4);
    const int context = tile.seq_len - tile.query_len;
    int position[Tr::kRowTiles][2];
    float slope2[Tr::kRowTiles][2];
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
      for (int e = 0; e < 2; ++e) {
        const int packed = rows.packed(t, e);
        const PackedRow row(params_, packed, head);
        const bool real = packed < tile.query_len * params_.group.value;
        position[t][e] = context + row.token;
        slope2[t][e] =
            params_.alibi_slopes && real ? kLog2e * params_.alibi_slopes[row.query_head] : 0;
      }
    for_scores([&](int t, int n, int i, float& s) {
      s = logit2(params_.score, s, slope2[t][i / 2], position[t][i / 2], first + 8 * n + i % 2);
    });
  }

  __device__ void hide_unseen(const Rows<Tr>& rows, const PrefillTile& tile, int index) {
    const int first = index * Tr::kKeys + 2 * (threadIdx.x % 4);
    const Mask mask = mask_of_request(params_.mask, tile.flags & kItemIsCausal);
    const int context = tile.seq_len - tile.query_len;
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const KeyRange seen =
            visible_keys(mask, context + params_.group.divide(rows.packed(t, e)), tile.seq_len);
        const int begin = max(seen.begin, tile.key_begin), end = min(seen.end, tile.key_end);
#pragma unroll
        for (int n = 0; n < kScores; ++n)
          for (int i = 2 * e; i < 2 * e + 2; ++i) {
            const int key = first + 8 * n + i % 2;
            if (key < begin || key >= end) s_[t][n][i] = -INFINITY;
          }
      }
  }

  // What the bits of the block mask do not show.
  __device__ void hide(int slot) {
    const int c = threadIdx.x % 4;
    const int row = threadIdx.x / 32 * Tr::kWarpRows + threadIdx.x % 32 / 4;
    uint32_t words[Tr::kRowTiles][2], all = ~0u;
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
      for (int e = 0; e < 2; ++e) all &= words[t][e] = shared_.words[slot][row + 16 * t + 8 * e];
    if (all == ~0u) return;
    for_scores([&](int t, int n, int i, float& s) {
      if (!(words[t][i / 2] >> (8 * n + 2 * c + i % 2) & 1)) s = -INFINITY;
    });
  }

  // Calls visit(t, n, i, s): the i-th of a thread's four scores of sixteen rows and eight keys.
  template <class Visit>
  __device__ void for_scores(Visit visit) {
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
#pragma unroll
      for (int n = 0; n < kScores; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) visit(t, n, i, s_[t][n][i]);
  }

  // Turns logits into weights against the running maximum, which it moves, and o with it.
  __device__ void update_softmax() {
    float rescale[Tr::kRowTiles][2];
    bool moved = false;
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float m = m_[t][e];
#pragma unroll
        for (auto& tile : s_[t]) m = fmaxf(m, fmaxf(tile[2 * e], tile[2 * e + 1]));
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
        const float reference = finite_or_zero(m);
        moved |= m != m_[t][e];
        rescale[t][e] = exp2_approx(m_[t][e] - reference);
        float sum = 0;
#pragma unroll
        for (auto& tile : s_[t])
          for (int i = 2 * e; i < 2 * e + 2; ++i) {
            tile[i] = exp2_approx(tile[i] - reference);
            sum += tile[i];
          }
        m_[t][e] = m, l_[t][e] = l_[t][e] * rescale[t][e] + sum;
      }
    if (!__any_sync(~0u, moved)) return;
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
#pragma unroll
      for (auto& tile : o_[t])
        for (int i = 0; i < 4; ++i) tile[i] *= rescale[t][i / 2];
  }

  // Behind the sum of the weights, which does not see the scales of values.
  __device__ void scale_weights(int stage) {
    if (params_.value_scale.data == nullptr) return;
    const float* scale = shared_.value_scale[stage] + 2 * (threadIdx.x % 4);
    for_scores([&](int, int n, int i, float& s) { s *= kWeightFactor * scale[8 * n + i % 2]; });
  }

  // o += P V
  __device__ void multiply_values(uint32_t values) {
    const int lane = threadIdx.x % 32;
    using E = Element<typename Tr::Type>;
#pragma unroll
    for (int step = 0; step < Tr::kKeys / 16; ++step) {
      uint32_t p[Tr::kRowTiles][4];
#pragma unroll
      for (int t = 0; t < Tr::kRowTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&from)[4] = s_[t][2 * step + i / 2];
          p[t][i] = E::pack(from[i % 2 * 2], from[i % 2 * 2 + 1]);
        }
#pragma unroll
      for (int d = 0; d < kColumns; d += 2) {
        uint32_t v[4];
        ldmatrix_x4_trans(v, values + Tr::ValueTile::offset(16 * step + lane % 16, d + lane / 16));
#pragma unroll
        for (int t = 0; t < Tr::kRowTiles; ++t) {
          E::mma(o_[t][d], p[t], v[0], v[1]);
          E::mma(o_[t][d + 1], p[t], v[2], v[3]);
        }
      }
    }
  }

  __device__ void finish(const PrefillTile& tile, int head) {
#pragma unroll
    for (int t = 0; t < Tr::kRowTiles; ++t)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& l = l_[t][e];
        l += __shfl_xor_sync(~0u, l, 1);
        l += __shfl_xor_sync(~0u, l, 2);
        const int in_tile =
            threadIdx.x / 32 * Tr::kWarpRows + 16 * t + threadIdx.x % 32 / 4 + 8 * e;
        const int packed = tile.first_row + in_tile;
        if (packed < tile.query_len * params_.group.value)
          finish_row(PackedRow(params_, packed, head), tile, head, t, e);
      }
  }

  // This thread's columns of row 16 t + g + 8 e. The sink joins here.
  __device__ void finish_row(const PackedRow& row, const PrefillTile& tile, int head, int t,
                             int e) const {
    const int64_t token = int64_t{tile.query_start} + row.token, query_head = row.query_head;
    const int c = threadIdx.x % 4;
    float m = m_[t][e], l = l_[t][e], scale = 1;
    if (params_.sinks && !(tile.flags & kItemIsPadding)) {
      const float sink = kLog2e * params_.sinks[query_head];
      m = finite_or_zero(fmaxf(m, sink));
      scale = exp2_approx(m_[t][e] - m);
      l = l * scale + exp2_approx(sink - m);
    }
    scale = l > 0 ? scale / l : (l == 0 ? 0 : l);  // NaN stays
    if (params_.value_scale.data) scale /= kWeightFactor;
    auto* out = static_cast<uint8_t*>(params_.out) + token * params_.out_token_stride +
                query_head * params_.out_head_stride;
#pragma unroll
    for (int d = 0; d < kColumns; ++d) {
      const int column = 8 * d + 2 * c;
      const float low = o_[t][d][2 * e] * scale * out_scale_of(params_, head, column);
      const float high = o_[t][d][2 * e + 1] * scale * out_scale_of(params_, head, column + 1);
      *reinterpret_cast<uint32_t*>(out + 2 * column) = Element<typename Tr::Type>::pack(low, high);
    }
    if (params_.lse && c == 0)
      params_.lse[query_head * params_.lse_head_stride + token * params_.lse_token_stride] =
          l == 0 ? -INFINITY : kLn2 * (m + log2f(l));
  }

  const AttendParams& params_;
  typename Tr::Shared& shared_;
  const Loader<Tr> loader_;
  float s_[Tr::kRowTiles][kScores][4], o_[Tr::kRowTiles][kColumns][4];
  float m_[Tr::kRowTiles][2], l_[Tr::kRowTiles][2];  // in base 2; l: of this thread's columns
};

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, Tr::kBlocksPerSm)
    attend_general(const __grid_constant__ AttendParams params) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Tr::Shared*>(memory);
  wait_for_earlier_kernels();
  allow_next_kernel();
  Worker<Tr> worker(params, shared);
  const int heads = params.num_kv_heads;
  const int num_tiles = params.schedule->num_prefill_tiles * heads;
  for (int i = blockIdx.x; i < num_tiles; i += gridDim.x)
    worker.attend(params.prefill_tiles[i / heads], i % heads);
}

}  // namespace pagoda::cuda::general

// Device only. A warp group that multiplies: 64 rows of a tile against its keys, two products deep.
// While the tensor cores work on one tile's values, the group computes the next tile's weights, and
// while one group computes weights the other one's products run.
//
// A thread holds rows g and g + 8 of its warp's sixteen, and of every eight columns those at 2 c
// and 2 c + 1, with g = lane / 4 and c = lane % 4.
#pragma once

#include "../device/element.cuh"
#include "../device/wgmma.cuh"
#include "prefill_producer.cuh"
#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

// What a thread knows about its two rows.
struct Rows {
  int token[2];  // of the request
  int query_head[2];
  bool real[2];
  int position[2];   // of the query in its sequence
  KeyRange seen[2];  // keys
  float slope2[2];
  int all_begin, all_end;  // keys that every row of this warp group sees

  Rows() = default;
  __device__ Rows(const AttendParams& params, const PrefillTile& tile, int head, int group_row) {
    const Mask mask = mask_of_request(params.mask, tile.flags & kItemIsCausal);
    const int context = tile.seq_len - tile.query_len;
    const int num_rows = tile.query_len * params.group.value;
    const int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int packed = tile.first_row + group_row + 16 * warp + g + 8 * e;
      const PackedRow row(params, packed, head);
      token[e] = row.token, query_head[e] = row.query_head;
      real[e] = packed < num_rows;
      position[e] = context + row.token;
      seen[e] = visible_keys(mask, position[e], tile.seq_len);
      seen[e].begin = max(seen[e].begin, tile.key_begin);
      seen[e].end = min(seen[e].end, tile.key_end);
      slope2[e] = params.alibi_slopes && real[e] ? kLog2e * params.alibi_slopes[query_head[e]] : 0;
    }
    const int first = tile.first_row + group_row;
    const int last = max(min(first + 63, num_rows - 1), first);
    const KeyRange all = all_visible(mask, context + params.group.divide(first),
                                     context + params.group.divide(last), tile.seq_len);
    all_begin = max(all.begin, tile.key_begin);
    all_end = min(all.end, tile.key_end);
  }
};

template <class Tr>
class Consumer {
 public:
  __device__ Consumer(const PrefillParams& params, typename Tr::Shared& shared, int group)
      : params_(params.attend), shared_(shared), group_(group) {
    const Score2& score = params_.score;
    plain_ = score.cap == 0 && score.alibi == Alibi::none && score.scale > 0;
    factor_ = plain_ ? score.scale : 1;
  }

  // Takes all work that there is.
  __device__ void run() {
    WorkReader<Tr> reader(shared_);
    PrefillTile tile;
    int head;
    while (reader.read(tile, head)) {
      mbarrier_wait(shared_.query_full[query_.slot], query_.parity);
      Rows rows;
      if (tile.key_begin < tile.key_end) {
        begin_scores();
        rows = Rows(params_, tile, head, 64 * group_);  // under the product
        attend(rows, tile);
      } else {
        rows = Rows(params_, tile, head, 64 * group_);
        clear();
        release_query();
      }
      finish(rows, tile.query_start);
    }
  }

 private:
  // From scores under way to o and l.
  __device__ void attend(const Rows& rows, const PrefillTile& tile) {
    const KeyTiles<Tr> tiles(tile);
    clear();
    int index = tiles.end - 1;
    wgmma_wait<0>();
    pin_registers(s_);
    release(shared_.key_empty, keys_);
    update_softmax(rows, index);
    store_weights();
    for (--index; index >= tiles.first; --index) {
      begin_scores();
      begin_values(tile, index + 1);
      wgmma_wait<1>();
      pin_registers(s_);
      release(shared_.key_empty, keys_);
      update_softmax(rows, index);
      keep_before_wait(l_[0] + l_[1]);
      wgmma_wait<0>();
      pin_registers(o_);
      release(shared_.value_empty, values_);
      rescale();
      store_weights();
    }
    release_query();
    begin_values(tile, tiles.first);
    wgmma_wait<0>();
    pin_registers(o_);
    release(shared_.value_empty, values_);
  }

  static constexpr int kScores = Tr::kKeys / 2, kOut = Tr::kHeadDimV / 2;

  __device__ void clear() {
#pragma unroll
    for (float& o : o_) o = 0;
    m_[0] = m_[1] = -INFINITY;
    l_[0] = l_[1] = 0;
  }

  __device__ void release(uint64_t (&empty)[Tr::kStages], RingPosition<Tr::kStages>& position) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty[position.slot]);
    position.advance();
  }
  __device__ void release_query() {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(shared_.query_empty[query_.slot]);
    query_.advance();
  }

  // s = Q K^T of the next tile of keys, under way.
  __device__ void begin_scores() {
    using QueryTile = typename Tr::QueryTile;
    using KeyTile = typename Tr::KeyTile;
    mbarrier_wait(shared_.key_full[keys_.slot], keys_.parity);
    const uint64_t query =
        matrix_descriptor<true>(shared_address(shared_.query[query_.slot]) + group_ * 64 * 128, 0);
    const uint64_t key = matrix_descriptor<true>(shared_address(shared_.key[keys_.slot]), 0);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
      const uint64_t a = advance(query, step / 4 * QueryTile::kSlabBytes + step % 4 * 32);
      const uint64_t b = advance(key, step / 4 * KeyTile::kSlabBytes + step % 4 * 32);
      Wgmma<typename Tr::Type, Tr::kKeys>::keys(s_, a, b, step > 0);
    }
    wgmma_commit();
  }

  // o += P V of tile `index`, under way.
  __device__ void begin_values(const PrefillTile& tile, int index) {
    mbarrier_wait(shared_.value_full[values_.slot], values_.parity);
    clear_unseen_values(tile, index);
    const uint64_t value = matrix_descriptor<false>(shared_address(shared_.value[values_.slot]),
                                                    Tr::ValueTile::kSlabBytes);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Tr::kKeys / 16; ++step) {
      constexpr int kDim = Tr::kHeadDimV;
      const uint64_t row = advance(value, step * 16 * 128);
      if constexpr (kDim == 128) {
        multiply_values<128>(0, step, row);
      } else {
#pragma unroll
        for (int slab = 0; slab < kDim / 64; ++slab) multiply_values<64>(64 * slab, step, row);
        if constexpr (kDim % 64 >= 32) multiply_values<32>(kDim / 64 * 64, step, row);
        if constexpr (kDim % 32 >= 16) multiply_values<16>(kDim / 32 * 32, step, row);
      }
    }
    wgmma_commit();
  }
  template <int kColumns>
  __device__ void multiply_values(int column, int step, uint64_t row) {
    const uint64_t b = advance(row, column / 64 * Tr::ValueTile::kSlabBytes + column % 64 * 2);
    Wgmma<typename Tr::Type, kColumns>::values(o_ + column / 2, p_ + 4 * step, b, true);
  }

  // Makes zeros of the values that no row of the tile sees: their bytes may be anything, NaN
  // included, and 0 * NaN would reach the output. Both groups do, each before it reads.
  __device__ void clear_unseen_values(const PrefillTile& tile, int index) {
    const int first = index * Tr::kKeys;
    if (first >= tile.key_begin && first + Tr::kKeys <= tile.key_end) return;
    constexpr int kChunks = Tr::ValueTile::kSlabs * 8;
    const uint32_t value = shared_address(shared_.value[values_.slot]);
    for (int i = threadIdx.x % 128; i < Tr::kKeys * kChunks; i += 128) {
      const int key = first + i / kChunks;
      if (key < tile.key_begin || key >= tile.key_end)
        store_zero_16(value + Tr::ValueTile::offset(i / kChunks, i % kChunks));
    }
    fence_async_proxy();
    named_barrier_sync(3 + group_, 128);
  }

  // s from q . k to logits; in base 2 if they are not plain, see factor_.
  __device__ void finish_logits(const Rows& rows, int index) {
    const int first = index * Tr::kKeys + 2 * (threadIdx.x % 4);
    if (!plain_) apply_score(rows, first);
    if (index * Tr::kKeys >= rows.all_begin && (index + 1) * Tr::kKeys <= rows.all_end) return;
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      const int key = first + i / 4 * 8 + i % 2;
      const KeyRange& seen = rows.seen[i / 2 % 2];
      if (key < seen.begin || key >= seen.end) s_[i] = -INFINITY;
    }
  }

  __device__ void apply_score(const Rows& rows, int first) {
    const Score2& score = params_.score;
    if (score.cap > 0) {
#pragma unroll
      for (float& s : s_) s = apply_cap(score, s);
    } else {
#pragma unroll
      for (float& s : s_) s *= score.scale;
    }
    if (score.alibi == Alibi::none) return;
    const bool linear = score.alibi == Alibi::linear;
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      const int e = i / 2 % 2;
      s_[i] += alibi2(linear, rows.slope2[e], rows.position[e], first + i / 4 * 8 + i % 2);
    }
  }

  // Turns s into weights against the running maximum, which it moves; o is still to follow. Two
  // partial results per row keep the chains of dependent instructions short.
  __device__ void update_softmax(const Rows& rows, int index) {
    finish_logits(rows, index);
    float m[2][2] = {{m_[0], -INFINITY}, {m_[1], -INFINITY}};
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      float& part = m[i / 2 % 2][i / 4 % 2];
      part = fmaxf(part, s_[i]);
    }
    float reference[2], sum[2][2] = {};
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      m[e][0] = fmaxf(m[e][0], m[e][1]);
      m[e][0] = fmaxf(m[e][0], __shfl_xor_sync(~0u, m[e][0], 1));
      m[e][0] = fmaxf(m[e][0], __shfl_xor_sync(~0u, m[e][0], 2));
      reference[e] = factor_ * finite_or_zero(m[e][0]);
      rescale_[e] = exp2_approx(factor_ * m_[e] - reference[e]);
      m_[e] = m[e][0];
    }
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      const int e = i / 2 % 2;
      s_[i] = exp2_approx(fmaf(s_[i], factor_, -reference[e]));
      sum[e][i / 4 % 2] += s_[i];
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) l_[e] = l_[e] * rescale_[e] + (sum[e][0] + sum[e][1]);
  }

  __device__ void rescale() {
    if (__all_sync(~0u, rescale_[0] == 1 && rescale_[1] == 1)) return;
#pragma unroll
    for (int i = 0; i < kOut; ++i) o_[i] *= rescale_[i / 2 % 2];
  }

  __device__ void store_weights() {
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i)
      p_[i] = Element<typename Tr::Type>::pack(s_[2 * i], s_[2 * i + 1]);
  }

  __device__ void finish(const Rows& rows, int query_start) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      l_[e] += __shfl_xor_sync(~0u, l_[e], 1);
      l_[e] += __shfl_xor_sync(~0u, l_[e], 2);
      finish_row(rows, query_start, e);
    }
  }

  // Row g + 8 e, by the four threads that hold it.
  __device__ void finish_row(const Rows& rows, int query_start, int e) {
    const int64_t token = query_start + rows.token[e];
    const int64_t query_head = rows.query_head[e];
    float m = factor_ * m_[e], l = l_[e], scale = 1;
    if (params_.sinks && rows.real[e]) {
      const float sink = kLog2e * params_.sinks[query_head], before = m;
      m = finite_or_zero(fmaxf(m, sink));
      scale = exp2_approx(before - m);
      l = l * scale + exp2_approx(sink - m);
    }
    scale = l > 0 ? scale / l : (l == 0 ? 0 : l);  // NaN stays
    const int c = threadIdx.x % 4;
    auto* out = static_cast<uint8_t*>(params_.out) + token * params_.out_token_stride +
                query_head * params_.out_head_stride;
#pragma unroll
    for (int first = 0; first < Tr::kHeadDimV; first += 32) {
      const int columns = min(32, Tr::kHeadDimV - first);
      uint32_t parts[4];  // of eight columns each: two of this thread's
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int i = first / 2 + 4 * k + 2 * e;
        parts[k] = 8 * k < columns
                       ? Element<typename Tr::Type>::pack(o_[i] * scale, o_[i + 1] * scale)
                       : 0;
      }
      transpose_quad(parts);
      if (rows.real[e] && 8 * c < columns)
        *reinterpret_cast<uint4*>(out + 2 * first + 16 * c) =
            make_uint4(parts[0], parts[1], parts[2], parts[3]);
    }
    if (params_.lse && c == 0 && rows.real[e])
      params_.lse[query_head * params_.lse_head_stride + token * params_.lse_token_stride] =
          l == 0 ? -INFINITY : kLn2 * (m + log2f(l));
  }

  // Thread c of four gets part c of each.
  static __device__ void transpose_quad(uint32_t (&parts)[4]) {
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

  const AttendParams& params_;
  typename Tr::Shared& shared_;
  const int group_;
  bool plain_;    // the logit is the scale alone, which then joins the exponent
  float factor_;  // from s and m to base 2

  RingPosition<Tr::kQueries> query_;
  RingPosition<Tr::kStages> keys_, values_;
  float s_[kScores], o_[kOut];
  uint32_t p_[kScores / 2];
  float m_[2], l_[2], rescale_[2];  // l: of this thread's columns
};

}  // namespace pagoda::cuda::prefill

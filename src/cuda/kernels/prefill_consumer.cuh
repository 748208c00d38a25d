// Device only. A warp group that multiplies: 64 rows of a tile against its keys, two products deep.
// While the tensor cores work on one tile's values, the group computes the next tile's weights, and
// while one group computes weights the other one's products run.
//
// What a weight costs decides the speed: instructions of the groups take register bandwidth from
// the tensor cores. So a row's reference, what its logits are compared with before exp2, is not
// always its maximum: it stays where it is until weights get too large, which their sum shows. A
// step without that needs no maxima, no exchange between threads and no rescaling.
//
// A thread holds rows g and g + 8 of its warp's sixteen, and of every eight columns those at 2 c
// and 2 c + 1, with g = lane / 4 and c = lane % 4.
#pragma once

#include "../device/element.cuh"
#include "../device/wgmma.cuh"
#include "prefill_output.cuh"
#include "prefill_producer.cuh"
#include "prefill_rows.cuh"
#include "prefill_traits.cuh"
#include "score.cuh"

namespace pagoda::cuda::prefill {

template <class Tr>
class Consumer {
 public:
  // group: the same in all threads of a warp.
  __device__ Consumer(const PrefillParams& params, typename Tr::Shared& shared, int group)
      : params_(params.attend), shared_(shared), group_(__shfl_sync(~0u, group, 0)) {
    const Score2& score = params_.score;
    plain_ = score.cap == 0 && score.alibi == Alibi::none && score.scale > 0;
    factor_ = plain_ ? score.scale : 1;
  }

  // Takes all work that there is.
  __device__ void run() {
    WorkReader<Tr> reader(shared_);
    const Work* work = reader.next();
    if (Tr::kOverlaps && work) open(*work);
    while (work) {
      if constexpr (!Tr::kOverlaps) open(*work);
      attend(*work);
      const Work* next = reader.next();
      if (Tr::kOverlaps && next)
        change_over(*work, *next);
      else
        close(*work);
      reader.release();
      work = next;
    }
  }

 private:
  using Work = typename Tr::Work;

  // What the thread knows of its rows.
  struct Rows {
    KeyRange seen[2], all;  // all: what every row of the warp group sees

    __device__ Rows(const PrefillTile& tile, const typename Tr::Ranges& ranges, int first,
                    int group)
        : seen{without(tile, ranges.of_row[first]), without(tile, ranges.of_row[first + 8])},
          all(ranges.of_all[group]) {}
    static __device__ KeyRange without(const PrefillTile& tile, const HiddenEnds& hidden) {
      return {tile.key_begin + hidden.front, tile.key_end - hidden.back};
    }
  };
  // The first of them, in the tile.
  __device__ int first_row() const {
    return 64 * group_ + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
  }

  // What the thread has of its rows: the references of their logits, and the sums of its columns'
  // weights against those.
  struct RowStates {
    float reference[2] = {kUnset, kUnset}, l[2] = {0, 0};
  };

  static constexpr int kScores = Tr::kKeys / 2, kOut = Tr::kHeadDimV / 2;
  static constexpr int kWeights = kScores / 2;  // registers of two
  using Weights = uint32_t[kWeights];

  // ---- the order of things --------------------------------------------------------------------

  // A tile while nothing is under way: up to its first weights.
  __device__ __forceinline__ void open(const Work& work) {
    wait_for_query();
    for (int i = KeyTiles<Tr>(work.tile).end - 1; i > last_tile(); --i) pass_by();
    wait(shared_.key_full, count_);
    begin_scores();
    const Rows rows(work.tile, shared_.ranges[query_.slot], first_row(), group_);
    wgmma_wait<0>();
    take_scores();
    weigh_first(work, rows);
    ++count_;
  }

  // From first weights to last weights.
  __device__ __forceinline__ void attend(const Work& work) {
    const KeyTiles<Tr> tiles(work.tile);
    const Rows rows(work.tile, shared_.ranges[query_.slot], first_row(), group_);
    int index = last_tile();
    wait(shared_.value_full, count_ - 1);
    clear_stale_values(work.tile, index);

    const int plain_end = plain_ ? rows.all.end / Tr::kKeys : 0;
    const int plain_begin = (rows.all.begin + Tr::kKeys - 1) / Tr::kKeys;
    if constexpr (Tr::kWeightSets == 1) {
      visit_in_place(work, rows, tiles.first, index - 1, plain_begin, plain_end);
    } else {
      Weights other;
      for (--index; index >= tiles.first;) {
        if (index < plain_begin || index >= plain_end) {
          step<false>(work, rows, index--, p_, other);
          move(other, p_);
          continue;
        }
        // By twos, so that weights need not be moved from registers to registers.
#pragma unroll 1
        while (true) {
          step<true>(work, rows, index, p_, other);
          if (--index < plain_begin) {
            move(other, p_);
            break;
          }
          step<true>(work, rows, index, other, p_);
          if (--index < plain_begin) break;
        }
      }
    }
    if constexpr (!Tr::kOverlaps) release_query(query_.slot);
    wait(shared_.value_full, count_ - 1);
    if (tiles.first < last_tile()) clear_stale_values(work.tile, tiles.first);
  }

  // Steps from tile `index` down to `first`; those in [plain_begin, plain_end) are plain.
  __device__ __forceinline__ void visit_in_place(const Work& work, const Rows& rows, int first,
                                                 int index, int plain_begin, int plain_end) {
    while (index >= first) {
      if (index < plain_begin || index >= plain_end) {
        step_in_place<false>(work, rows, index--);
        continue;
      }
#pragma unroll 1
      for (; index >= plain_begin; --index) step_in_place<true>(work, rows, index);
    }
  }

  // From a tile's last weights to the next one's first. The output is written while the tensor
  // cores are at the next scores.
  __device__ __forceinline__ void change_over(const Work& work, const Work& next) {
    const int slot = query_.slot;
    query_.advance();
    begin_values(p_);
    wait_for_query();
    wait(shared_.key_full, count_);
    begin_scores();
    const Rows rows(next.tile, shared_.ranges[query_.slot], first_row(), group_);
    finish_values<1>();
    stage(finish(work), slot);
    wgmma_wait<0>();
    take_scores();
    weigh_first(next, rows);
    ++count_;
  }

  // From a tile's last weights to its output, with nothing behind it.
  __device__ __forceinline__ void close(const Work& work) {
    query_.advance();
    begin_values(p_);
    finish_values<0>();
    const Scales scales = finish(work);
#pragma unroll
    for (int e = 0; e < 2; ++e)
      store_row<Tr>(params_, work, first_row() + 8 * e, o_, scales.of_row[e], e);
  }

  // The scores of tile `index`, which become `weights`, and the product of the values before it
  // with theirs. kAllSeen: every row sees every key, and the logit is the scale alone.
  template <bool kAllSeen>
  __device__ __forceinline__ void step(const Work& work, const Rows& rows, int index,
                                       const Weights& before, Weights& weights) {
    wait(shared_.key_full, count_);
    wait(shared_.value_full, count_ - 1);
    begin_scores();
    begin_values(before);
    wgmma_wait<1>();
    take_scores();
    if constexpr (!kAllSeen) finish_logits(work, rows, index);
    Sums sums = weigh(weights);
    // Warps decide this each for itself, so no product is begun or waited for on either side.
    const bool moves = __any_sync(~0u, fmaxf(sums.of_row[0], sums.of_row[1]) >= kLimit);
    if (moves) {
      settle(sums);
      sums = weigh(weights);
    }
    add_up(sums);
    finish_values<0>();
    if (moves) rescale();
    ++count_;
  }

  // The same with one set of registers for weights: the values' product is taken in parts, and a
  // part's weights give way to the next tile's when it is done.
  template <bool kAllSeen>
  __device__ __forceinline__ void step_in_place(const Work& work, const Rows& rows, int index) {
    wait(shared_.key_full, count_);
    wait(shared_.value_full, count_ - 1);
    begin_scores();
    begin_values<kParts>(p_);
    wgmma_wait<kParts>();
    take_scores();
    if constexpr (!kAllSeen) finish_logits(work, rows, index);
    Sums sums = weigh_in_parts();
    if (__any_sync(~0u, fmaxf(sums.of_row[0], sums.of_row[1]) >= kLimit)) {
      settle(sums);
      sums = weigh(p_);
      rescale();
    }
    add_up(sums);
    ++count_;
  }

  // ---- barriers -------------------------------------------------------------------------------

  using StageBarriers = uint64_t (&)[Tr::kStages];
  // n: counts tiles of keys since the kernel began.
  static __device__ void wait(StageBarriers full, uint32_t n) {
    mbarrier_wait(full[n % Tr::kStages], n / Tr::kStages & 1);
  }
  static __device__ void release(StageBarriers empty, uint32_t n) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty[n % Tr::kStages]);
  }
  __device__ void wait_for_query() {
    mbarrier_wait(shared_.query_full[query_.slot], query_.parity);
  }
  __device__ void release_query(int slot) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(shared_.query_empty[slot]);
  }

  // The tile of keys that the group begins with; in a paired tile the other one begins elsewhere.
  __device__ int last_tile() const {
    return shared_.ranges[query_.slot].last_tile[group_];
  }
  // Leaves a tile of keys and values to the other group.
  __device__ void pass_by() {
    wait(shared_.key_full, count_);
    release(shared_.key_empty, count_);
    wait(shared_.value_full, count_);
    release(shared_.value_empty, count_);
    ++count_;
  }

  // ---- products -------------------------------------------------------------------------------

  // s = Q K^T of the next tile of keys, under way.
  __device__ __forceinline__ void begin_scores() {
    using QueryTile = typename Tr::QueryTile;
    using KeyTile = typename Tr::KeyTile;
    int query_row = group_ * 64;
    if constexpr (Tr::kHeadDim > 128) query_row = recomputed(query_row);  // too many to keep
    const uint64_t query =
        matrix_descriptor<true>(shared_address(shared_.query[query_.slot]) + query_row * 128, 0);
    const uint64_t key =
        matrix_descriptor<true>(shared_address(shared_.key[count_ % Tr::kStages]), 0);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
      const uint64_t a = advance(query, step / 4 * QueryTile::kSlabBytes + step % 4 * 32);
      const uint64_t b = advance(key, step / 4 * KeyTile::kSlabBytes + step % 4 * 32);
      Wgmma<typename Tr::Type, Tr::kKeys>::keys(s_, a, b, step > 0);
    }
    wgmma_commit();
  }

  // s is there: the keys may go.
  __device__ void take_scores() {
    pin_registers(s_);
    release(shared_.key_empty, count_);
  }

  // o += P V of the tile of values before, under way. p: its weights. As kCommits products, each of
  // as many keys.
  template <int kCommits = 1>
  __device__ __forceinline__ void begin_values(const Weights& p) {
    const uint64_t value = matrix_descriptor<false>(
        shared_address(shared_.value[(count_ - 1) % Tr::kStages]), Tr::ValueTile::kSlabBytes);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Tr::kKeys / 16; ++step) {
      constexpr int kDim = Tr::kHeadDimV;
      const uint64_t row = advance(value, step * 16 * 128);
      if constexpr (kDim == 128) {
        multiply_values<128>(p, 0, step, row);
      } else {
#pragma unroll
        for (int slab = 0; slab < kDim / 64; ++slab) multiply_values<64>(p, 64 * slab, step, row);
        if constexpr (kDim % 64 >= 32) multiply_values<32>(p, kDim / 64 * 64, step, row);
        if constexpr (kDim % 32 >= 16) multiply_values<16>(p, kDim / 32 * 32, step, row);
      }
      if ((step + 1) % (Tr::kKeys / 16 / kCommits) == 0) wgmma_commit();
    }
  }
  // Until o is there; kPending products were begun after it.
  template <int kPending>
  __device__ void finish_values() {
    wgmma_wait<kPending>();
    pin_registers(o_);
    release(shared_.value_empty, count_ - 1);
  }
  template <int kColumns>
  __device__ void multiply_values(const Weights& p, int column, int step, uint64_t row) {
    const uint64_t b = advance(row, column / 64 * Tr::ValueTile::kSlabBytes + column % 64 * 2);
    Wgmma<typename Tr::Type, kColumns>::values(o_ + column / 2, p + 4 * step, b, true);
  }

  // Makes zeros of the values that are not the request's or lie in front of what the tile sees:
  // their bytes may be anything, NaN included, and 0 * NaN would reach the output. Both groups do,
  // each before it reads.
  __device__ void clear_stale_values(const PrefillTile& tile, int index) {
    const int first = index * Tr::kKeys;
    const int front = max(tile.key_begin - first, 0), end = min(tile.seq_len - first, Tr::kKeys);
    if (front == 0 && end == Tr::kKeys) return;
    clear_values(0, front);
    clear_values(max(end, 0), Tr::kKeys);
    fence_async_proxy();
    named_barrier_sync(3 + group_, 128);
  }
  // Rows [begin, end) of the tile of values before.
  __device__ void clear_values(int begin, int end) {
    constexpr int kChunks = Tr::ValueTile::kSlabs * 8;
    const uint32_t value = shared_address(shared_.value[(count_ - 1) % Tr::kStages]);
#pragma unroll 1
    for (int i = begin * kChunks + threadIdx.x % 128; i < end * kChunks; i += 128)
      store_zero_16(value + Tr::ValueTile::offset(i / kChunks, i % kChunks));
  }

  // ---- logits ---------------------------------------------------------------------------------

  // s from q . k to logits; in base 2 if they are not plain, see factor_.
  __device__ void finish_logits(const Work& work, const Rows& rows, int index) {
    const int first = index * Tr::kKeys + 2 * (threadIdx.x % 4);
    if (!plain_) apply_score(work, first);
    if (index * Tr::kKeys >= rows.all.begin && (index + 1) * Tr::kKeys <= rows.all.end) return;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t seen =
          columns_below(rows.seen[e].end - first) & ~columns_below(rows.seen[e].begin - first);
#pragma unroll
      for (int i = 2 * e; i < kScores; i += 4) {
        if (!(seen >> (i / 4 * 2) & 1)) s_[i] = -INFINITY;
        if (!(seen >> (i / 4 * 2 + 1) & 1)) s_[i + 1] = -INFINITY;
      }
    }
  }
  // Of a thread's columns 0, 1, 8, 9, 16, 17, ... those in front of `end`, a bit for each.
  static __device__ uint32_t columns_below(int end) {
    const int inside = min(max(end, 0), Tr::kKeys);
    const int count = inside / 8 * 2 + min(inside % 8, 2);
    return count == 32 ? ~0u : (1u << count) - 1;
  }

  __device__ void apply_score(const Work& work, int first) {
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
    for (int e = 0; e < 2; ++e) {
      const TileRow row(params_, work.tile, work.head, first_row() + 8 * e);
      const int position = row.position(work.tile);
      const float slope2 = row.real ? kLog2e * params_.alibi_slopes[row.query_head] : 0;
#pragma unroll
      for (int i = 2 * e; i < kScores; i += 4) {
        s_[i] += alibi2(linear, slope2, position, first + i / 4 * 8);
        s_[i + 1] += alibi2(linear, slope2, position, first + i / 4 * 8 + 1);
      }
    }
  }

  // ---- softmax --------------------------------------------------------------------------------

  // Of a thread's two rows, over its columns of a tile.
  struct Sums {
    float of_row[2];
  };

  // A sum of weights from which on a row's reference has to follow its maximum. Until then weights
  // are numbers of their type: half's largest is 65504.
  static constexpr float kLimit = std::is_same_v<typename Tr::Type, __half> ? 0x1p15f : 0x1p40f;
  // The reference of a row that has seen nothing: any finite logit makes a weight of inf, and -inf
  // minus it is still -inf.
  static constexpr float kUnset = -1e30f;

  // Of a row two sums, to keep the chains of dependent additions short.
  using PartSums = float[2][2];
  __device__ static Sums sums_of(const PartSums& part) {
    return {part[0][0] + part[0][1], part[1][0] + part[1][1]};
  }
  // weights: of s against the references, packed; of scores [kBegin, kEnd).
  template <int kBegin, int kEnd>
  __device__ __forceinline__ void weigh(Weights& weights, PartSums& part) {
#pragma unroll
    for (int i = kBegin; i < kEnd; i += 2) {
      const int e = i / 2 % 2;
      const float w0 = exp2_approx(fmaf(s_[i], factor_, -states_.reference[e]));
      const float w1 = exp2_approx(fmaf(s_[i + 1], factor_, -states_.reference[e]));
      part[e][i / 4 % 2] += w0;
      part[e][i / 4 % 2] += w1;
      weights[i / 2] = Element<typename Tr::Type>::pack(w0, w1);
    }
  }
  __device__ Sums weigh(Weights& weights) {
    PartSums part = {};
    weigh<0, kScores>(weights, part);
    return sums_of(part);
  }

  // Parts of the values' product of a step in place.
  static constexpr int kParts = 4;

  // Into p_, part by part behind the products that read it; o is there in the end.
  __device__ __forceinline__ Sums weigh_in_parts() {
    PartSums part = {};
    weigh_from_part<0>(part);
    return sums_of(part);
  }
  template <int kPart>
  __device__ __forceinline__ void weigh_from_part(PartSums& part) {
    constexpr int kSize = kScores / kParts, kBegin = kPart * kSize, kEnd = kBegin + kSize;
    if constexpr (kPart < kParts - 1)
      wgmma_wait<kParts - 1 - kPart>();
    else
      finish_values<0>();
#pragma unroll
    for (int i = kBegin; i < kEnd; ++i) asm volatile("" : "+f"(s_[i])::"memory");
    weigh<kBegin, kEnd>(p_, part);
    if constexpr (kPart < kParts - 1) {
      // The assembler would move the next wait in front of these weights if nothing stood between.
      const bool some = !(fmaxf(fmaxf(part[0][0], part[0][1]), fmaxf(part[1][0], part[1][1])) < -1);
      __syncwarp(__ballot_sync(~0u, some));
      weigh_from_part<kPart + 1>(part);
    }
  }
  __device__ void add_up(const Sums& sums) {
#pragma unroll
    for (int e = 0; e < 2; ++e) states_.l[e] += sums.of_row[e];
  }
  static __device__ void move(const Weights& from, Weights& to) {
#pragma unroll
    for (int i = 0; i < kWeights; ++i) to[i] = moved(from[i]);
  }

  // The weights of a tile's first scores, against their maxima: a row that sees one key gets weight
  // 1, and that key's values to the bit.
  __device__ __forceinline__ void weigh_first(const Work& work, const Rows& rows) {
    finish_logits(work, rows, last_tile());
    states_ = RowStates();
    settle({INFINITY, INFINITY});
    add_up(weigh(p_));
#pragma unroll
    for (float& o : o_) o = 0;
  }

  // Moves the references of those rows whose sums are too large; o is still to follow.
  __device__ void settle(const Sums& sums) {
    float m[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      float& part = m[i / 2 % 2][i / 4 % 2];
      part = fmaxf(part, s_[i]);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const auto larger = [](float a, float b) { return fmaxf(a, b); };
      const float max_seen = over_row(fmaxf(m[e][0], m[e][1]), larger);
      const float sum = over_row(sums.of_row[e], larger);
      const float before = states_.reference[e];
      if (sum >= kLimit) states_.reference[e] = max_seen == -INFINITY ? kUnset : factor_ * max_seen;
      rescale_[e] = exp2_approx(before - states_.reference[e]);
      states_.l[e] *= rescale_[e];
    }
  }
  __device__ void rescale() {
#pragma unroll
    for (int i = 0; i < kOut; ++i) o_[i] *= rescale_[i / 2 % 2];
  }

  // Combines what the four threads of a row have.
  template <class T, class Combine>
  static __device__ T over_row(T x, Combine combine) {
    x = combine(x, __shfl_xor_sync(~0u, x, 1));
    return combine(x, __shfl_xor_sync(~0u, x, 2));
  }

  // ---- output ---------------------------------------------------------------------------------

  // What the thread's two rows of o are to be multiplied with.
  struct Scales {
    float of_row[2];
  };

  __device__ __forceinline__ Scales finish(const Work& work) {
    Scales scales;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float l = over_row(states_.l[e], [](float a, float b) { return a + b; });
      scales.of_row[e] = finish_state(params_, work, first_row() + 8 * e, states_.reference[e], l);
    }
    return scales;
  }
  // The output to where the tile's queries are, from where others take it.
  __device__ __forceinline__ void stage(const Scales& scales, int slot) {
    named_barrier_sync(3 + group_, 128);  // the group's other warps are done with the queries, too
    stage_rows<Tr>(shared_.query[slot], 16 * (first_row() / 16), o_, scales.of_row);
    __syncwarp();
    release_query(slot);
  }

  const AttendParams& params_;
  typename Tr::Shared& shared_;
  const int group_;
  bool plain_;    // the logit is the scale alone, which then joins the exponent
  float factor_;  // from s to base 2

  RingPosition<Tr::kQueries> query_;
  uint32_t count_ = 0;  // tiles of keys before the one whose scores come next
  float s_[kScores], o_[kOut];
  Weights p_;  // of the tile before
  RowStates states_;
  float rescale_[2];
};

}  // namespace pagoda::cuda::prefill

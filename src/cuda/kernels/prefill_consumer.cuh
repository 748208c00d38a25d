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
#include "prefill_logits.cuh"
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
  using Ranges = typename Tr::Ranges;
  using Rows = ThreadRows<Tr>;

  // The first row of the thread, in the tile.
  __device__ int first_row() const {
    return 64 * group_ + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
  }

  // What the thread has of its rows: the references of their logits, and the sums of its columns'
  // weights against those.
  struct RowStates {
    float reference[2] = {kUnset, kUnset}, l[2] = {0, 0};
  };

  static constexpr int kScores = Tr::kKeys / 2, kOut = Tr::kHeadDimV / 2;
  static constexpr int kQuarter = kScores / 4;
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
    const int quarters = shared_.ranges[query_.slot].first_quarters[group_];
    weigh_first(work, rows, quarters);
    check_first(quarters);
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
    const bool has_more = tiles.first < last_tile();
    if constexpr (!Tr::kOverlaps) release_query(query_.slot);
    wait(shared_.value_full, count_ - 1);
    if (has_more) clear_stale_values(work.tile, tiles.first);
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
    if (threadIdx.x % 32 == 0) mbarrier_arrive(shared_.query_read[group_]);
    query_.advance();
    wait_for_query();
    const int quarters = shared_.ranges[query_.slot].first_quarters[group_];
    begin_values(p_);
    wait(shared_.key_full, count_);
    begin_scores();
    const Rows rows(next.tile, shared_.ranges[query_.slot], first_row(), group_);
    const int slot = (query_.slot + Tr::kQueries - 1) % Tr::kQueries;
    const Scales scales = finish(work, &shared_.ranges[slot]);
    finish_values<1>();
    stage(scales, slot);
    wgmma_wait<0>();
    take_scores();
    weigh_first(next, rows, quarters);
    hand_over(slot);
    check_first(quarters);
    ++count_;
  }

  // From a tile's last weights to its output, with nothing behind it.
  __device__ __forceinline__ void close(const Work& work) {
    query_.advance();
    begin_values(p_);
    finish_values<0>();
    const Scales scales = finish(work, nullptr);
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
    const int first = index * Tr::kKeys;
    if (!plain_) apply_score(params_, work, first_row(), first, s_);
    if (first < rows.all.begin || first + Tr::kKeys > rows.all.end)
      hide<0, kScores>(rows, first, s_);
  }

  // ---- softmax --------------------------------------------------------------------------------

  // Of a thread's two rows, over its columns of a tile.
  struct Sums {
    float of_row[2];
  };

  // A sum of weights from which on a row's reference has to follow its maximum. Until then weights
  // are numbers of their type: half's largest is 65504.
  static constexpr float kLimit = std::is_same_v<typename Tr::Type, __half> ? 0x1p15f : 0x1p40f;
  // How far a row's first weights may lie above 1, so that their sum stays below the limit; and a
  // sum of some of them that none below misses, rounded as they may be.
  static constexpr float kFarLog2 = std::is_same_v<typename Tr::Type, __half> ? 7 : 30;
  static constexpr float kFar = std::is_same_v<typename Tr::Type, __half> ? 0x1.8p6f : 0x1.8p29f;
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

  // The weights of a tile's first scores, against the largest of the first eight that each row
  // sees: a maximum of all would cost as much as half the weights. quarters: see Ranges.
  __device__ __forceinline__ void weigh_first(const Work& work, const Rows& rows, int quarters) {
    if (quarters == 1)
      weigh_first<1>(work, rows);
    else if (quarters == 2)
      weigh_first<2>(work, rows);
    else if (quarters == 3)
      weigh_first<3>(work, rows);
    else if (quarters == 4)
      weigh_first<4>(work, rows);
    else
      weigh_first<Ranges::kAnyColumns>(work, rows);
  }
  template <int kQuarters>
  __device__ __forceinline__ void weigh_first(const Work& work, const Rows& rows) {
    constexpr int kCount = kQuarters == Ranges::kAnyColumns ? kScores : kQuarters * kQuarter;
    if constexpr (kQuarters == Ranges::kAnyColumns)
      finish_logits(work, rows, last_tile());
    else
      hide<kCount - kQuarter, kCount>(rows, last_tile() * Tr::kKeys, s_);
    states_ = RowStates();
    const Maxima front = max_scores<4>();
#pragma unroll
    for (int e = 0; e < 2; ++e) states_.reference[e] = reference_of(front.of_row[e]);
    PartSums part = {};
    weigh<0, kCount>(p_, part);
#pragma unroll
    for (int i = kCount / 2; i < kWeights; ++i) p_[i] = 0;
    add_up(sums_of(part));
#pragma unroll
    for (float& o : o_) o = 0;
  }
  // Weighs them again if a weight may be too large for that.
  __device__ __forceinline__ void check_first(int quarters) {
    if (!__any_sync(~0u, fmaxf(states_.l[0], states_.l[1]) >= kFar)) return;
#pragma unroll
    for (int i = kQuarter; i < kScores; ++i)
      if (i >= quarters * kQuarter && quarters != Ranges::kAnyColumns) s_[i] = -INFINITY;
    const Maxima front = max_scores<4>(), most = max_scores();
#pragma unroll
    for (int e = 0; e < 2; ++e)
      states_.reference[e] = first_reference(front.of_row[e], most.of_row[e]);
    const Sums sums = weigh(p_);
#pragma unroll
    for (int e = 0; e < 2; ++e) states_.l[e] = sums.of_row[e];
  }
  // Of a row, in the first tile of keys of which it sees some. front: the largest of the tile's
  // first eight scores; most: of all. A row that sees one key gets weight 1, and that key's values
  // to the bit.
  __device__ float first_reference(float front, float most) const {
    const float near = reference_of(front), exact = reference_of(most);
    return front == -INFINITY || exact - near > kFarLog2 ? exact : near;
  }

  // Moves the references of those rows whose sums are too large; o is still to follow.
  __device__ void settle(const Sums& sums) {
    const Maxima front = max_scores<4>(), most = max_scores();
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float sum = over_row(sums.of_row[e], larger);
      const float before = states_.reference[e];
      if (sum >= kLimit)
        states_.reference[e] = before == kUnset ? first_reference(front.of_row[e], most.of_row[e])
                                                : reference_of(most.of_row[e]);
      rescale_[e] = exp2_approx(before - states_.reference[e]);
      states_.l[e] *= rescale_[e];
    }
  }
  // The largest of the first kCount of s, of the thread's two rows.
  struct Maxima {
    float of_row[2];
  };
  template <int kCount = kScores>
  __device__ __forceinline__ Maxima max_scores() const {
    float m[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float& part = m[i / 2 % 2][i / 4 % 2];
      part = fmaxf(part, s_[i]);
    }
    return {over_row(fmaxf(m[0][0], m[0][1]), larger), over_row(fmaxf(m[1][0], m[1][1]), larger)};
  }
  __device__ float reference_of(float max_score) const {
    return max_score == -INFINITY ? kUnset : factor_ * max_score;
  }
  __device__ void rescale() {
#pragma unroll
    for (int i = 0; i < kOut; ++i) o_[i] *= rescale_[i / 2 % 2];
  }

  static __device__ float larger(float a, float b) {
    return fmaxf(a, b);
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

  // lse: of the rows, which others write; null: this thread does.
  __device__ __forceinline__ Scales finish(const Work& work, Ranges* lse) {
    float l[2];
#pragma unroll
    for (int e = 0; e < 2; ++e)
      l[e] = over_row(states_.l[e], [](float a, float b) { return a + b; });
    Scales scales = {{1, 1}};
    if (params_.sinks) {
#pragma unroll
      for (int e = 0; e < 2; ++e)
        scales.of_row[e] = add_sink(params_, work, first_row() + 8 * e, states_.reference[e], l[e]);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = first_row() + 8 * e;
      const float lse_of_row = lse_of(states_.reference[e], l[e]);
      scales.of_row[e] = divide(scales.of_row[e], l[e]);
      if (lse == nullptr)
        write_lse(params_, work, row, lse_of_row);
      else if (threadIdx.x % 4 == 0)
        lse->of_row[row].lse = lse_of_row;
    }
    return scales;
  }
  // The output to where the tile's queries are, from where others take it.
  __device__ __forceinline__ void stage(const Scales& scales, int slot) {
    // The group's other warps are done with the queries, too.
    mbarrier_wait(shared_.query_read[group_], num_staged_++ & 1);
    stage_rows<Tr>(shared_.query[slot], 16 * (first_row() / 16), o_, scales.of_row);
  }
  // When what was staged has long been written, so that nobody waits for it.
  __device__ __forceinline__ void hand_over(int slot) {
    fence_async_proxy();
    __syncwarp();
    release_query(slot);
  }

  const AttendParams& params_;
  typename Tr::Shared& shared_;
  const int group_;
  bool plain_;    // the logit is the scale alone, which then joins the exponent
  float factor_;  // from s to base 2

  RingPosition<Tr::kQueries> query_;
  uint32_t count_ = 0;       // tiles of keys before the one whose scores come next
  uint32_t num_staged_ = 0;  // outputs
  float s_[kScores], o_[kOut];
  Weights p_;  // of the tile before
  RowStates states_;
  float rescale_[2];
};

}  // namespace pagoda::cuda::prefill

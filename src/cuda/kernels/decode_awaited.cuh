// Device only. The end of a step in which no block has a second item: one short request, or few.
// Nothing is left to hide a wait behind, so those who merge a request's pieces do not wait until
// they are all reported, but for their words, and several blocks share the merging.
//
// The blocks that start last among a request's pieces take a share each, of its rows and columns;
// the very last the first share. Only that one knows from the start that all others are running, so
// that it may wait for them. Another asks while its keys come in whether all have started by now.
// If not, it declines: it must not wait for a block that may itself wait for this one's place. The
// last block hears from all and merges what they have declined, so no two blocks wait for each
// other.
#pragma once

#include "decode_finish.cuh"

namespace pagoda::cuda::decode {

// The merging of a block's only item (kItemIsAlone) by the clerks. A thread asks for four pieces at
// once, in four columns of a row, and asks again for those that were not written. Lanes find from m
// and l of all splits what each weighs; with weights at hand a column is two operations per split.
// Same roundings as merge().
template <class Tr>
class AwaitedMerge {
 public:
  __device__ AwaitedMerge(const Work<Tr>& work, int thread)
      : work_(work), item_(work.item(0)), only_(work.shared.only), thread_(thread) {}

  // What the rest needs to know of the item, in front of it and of a barrier; by one warp. Divides,
  // while nobody waits for it.
  __device__ static void prepare(const Work<Tr>& work) {
    const int lane = threadIdx.x % 32, head = work.head(0);
    const DecodeItem& item = work.item(0);
    auto& only = work.shared.only;
    const Pieces pieces(item);
    for (int word = 0; word < kWords; ++word) {
      const int piece = 32 * word + lane;
      const bool is_other = piece != item.piece && pieces.has(piece);
      const uint32_t set = __ballot_sync(~0u, is_other);
      if (lane == 0) only.others[word] = set;
    }
    if (lane > 0) return;
    Partials<Tr> partials = partials_of<Tr>(work.params, item, head);
    only.partials[0] = partials;
    partials.out += pieces.end * partials.out_stride;
    partials.ml += pieces.end * partials.ml_stride;
    only.partials[1] = partials;
    only.head = head, only.arrivals = arrivals_of_item(work.params, item, head);
    prepare_shares(only, item, pieces);
  }

  // Counts the block among those that have started, and takes a share or none. By one thread.
  __device__ static void start(const Work<Tr>& work) {
    auto& only = work.shared.only;
    const uint32_t before = atomic_add_relaxed(only.arrivals, 1);
    const int later = work.item(0).num_pieces - 1 - static_cast<int>(before & ~kSecondSet);
    only.set = before & kSecondSet ? 1 : 0;
    only.share = later < only.num_shares ? later : -1;
  }

  // Settles who merges what while keys come in, until `leaf` says that there is other work. By one
  // warp.
  __device__ void settle(uint64_t& leaf) const {
    const int share = only_.share;
    if (share < 0) return;
    if (share == 0) {
      ShareAnswers answers;
      do answers = ask_others();
      while (answers.missing && !__any_sync(~0u, mbarrier_test(leaf, 0)));
      if (threadIdx.x % 32 == 0) only_.answers = answers;
    } else {
      bool ready;
      do ready = __any_sync(~0u, all_have_started());
      while (!ready && !__any_sync(~0u, mbarrier_test(leaf, 0)));
      if (by_chance()) ready = false;
      if (threadIdx.x % 32 == 0) answer(ready);
    }
  }

  // turn: of the run, which holds this block's own piece.
  __device__ void run(int turn) const {
    const int share = only_.share;
    if (share < 0) return;
    if (share == 0 && thread_ == 0)  // for the next launch
      store_relaxed(only_.arrivals, only_.set == 0 ? kSecondSet : 0);
    merge_share(share, turn);
    if (share > 0) return;
    ShareAnswers answers = only_.answers;
    while (answers.missing) answers = ask_others();
    for (uint32_t left = answers.declined; left != 0; left &= left - 1) {
      named_barrier_sync(1, Tr::kClerks);
      merge_share(__ffs(left) - 1, turn);
    }
  }

  // Makes this piece's words unwritten in the set of slots that the launch before has used, for the
  // next launch.
  __device__ void clear_other_set() const {
    const Partials<Tr> partials = only_.partials[only_.set ^ 1];
    for_columns<Tr>(item_.num_rows, thread_, Tr::kClerks, [&](int row, int column) {
      store_relaxed_16(partials.at(item_.piece, row, column),
                       make_uint4(kNotYet, kNotYet, kNotYet, kNotYet));
      if (column == 0)
        store_relaxed_8(partials.ml_at(item_.piece, row), make_uint2(kNotYet, kNotYet));
    });
  }

 private:
  static constexpr int kGroups = Tr::kHeadDimV / 4;  // of four columns
  static constexpr int kWords = kMaxPieces / 32 + 1;
  static_assert(sizeof(Tr::OnlyItem::others) == 4 * kWords);
  using Only = typename Tr::OnlyItem;

  // As many shares as leave a thread one task, if it can be. A task is a group of four columns in
  // all splits of up to four pieces.
  __device__ static void prepare_shares(Only& only, const DecodeItem& item, const Pieces& pieces) {
    only.parts = pieces.parts, only.splits = pieces.end / pieces.parts;
    only.num_shares = max(min(item.num_pieces / kPiecesOfTask, kMostShares), 1);
    only.share_groups = (item.num_rows * kGroups + only.num_shares - 1) / only.num_shares;
    only.task_splits = kPiecesOfTask / pieces.parts;
    only.tasks = (only.splits - 1) / only.task_splits + 1;
  }

  // What the block of a share, but for the first, has to say: which of two words counts is the
  // set's, and the other is left from the launch before. An item has two slots for each piece.
  static constexpr uint32_t kDeclines = 4;
  __device__ uint32_t* answer_of(int share) const {
    return only_.arrivals + share * work_.params.num_kv_heads;
  }
  __device__ uint32_t word_of_set() const { return only_.set == 0 ? 2 : 1; }

  __device__ bool all_have_started() const {
    const uint32_t word = load_relaxed(only_.arrivals);
    const int set = word & kSecondSet ? 1 : 0;
    return set != only_.set ||  // the last has even merged
           static_cast<int>(word & ~kSecondSet) == item_.num_pieces;
  }
  __device__ void answer(bool accepts) const {
    store_relaxed(answer_of(only_.share), word_of_set() | (accepts ? 0 : kDeclines));
    if (!accepts) only_.share = -1;
  }
  // By a whole warp.
  __device__ ShareAnswers ask_others() const {
    const int share = threadIdx.x % 32;
    const bool is_other = share > 0 && share < only_.num_shares;
    const uint32_t word = is_other ? load_relaxed(answer_of(share)) : 0;
    const bool has_come = (word & ~kDeclines) == word_of_set();
    return {.missing = __ballot_sync(~0u, is_other && !has_come),
            .declined = __ballot_sync(~0u, has_come && (word & kDeclines) != 0)};
  }

  // m and l of splits first, then what the sum before a split and the split are multiplied by.
  struct Weights {
    float2 split[Tr::kRows][kMaxSplits];
    float2 total[Tr::kRows];  // m and l in the end
  };
  static_assert(sizeof(Weights) <= sizeof(Tr::Shared::queries));
  __device__ Weights& weights() const { return *reinterpret_cast<Weights*>(work_.shared.queries); }
  // A share's columns of all splits. [splits][groups of the share], in the ring, which nobody needs
  // any more.
  static constexpr int kMostGroups = (Tr::kRows * kGroups + kMostShares - 1) / kMostShares;
  static_assert(kMostGroups * kMaxSplits * sizeof(float4) <= sizeof(Tr::Shared::ring));
  static_assert(2 * kPiecesOfTask * Tr::kRows * kGroups * sizeof(float4) <=
                sizeof(Tr::Shared::ring));  // of fewer shares, and as many splits as pieces
  __device__ float4* split_out() const { return reinterpret_cast<float4*>(work_.shared.ring); }

  __device__ void merge_share(int share, int turn) const {
    const int first = share * only_.share_groups;
    const int count = min(only_.share_groups, item_.num_rows * kGroups - first);
    if (count <= 0) return;
    gather_splits(first, count, turn);
    named_barrier_sync(1, Tr::kClerks);
    const int last_row = (first + count - 1) / kGroups;
    for (int row = first / kGroups + thread_ / 32; row <= last_row; row += Tr::kClerks / 32)
      weigh(row);
    named_barrier_sync(1, Tr::kClerks);
    for (int i = thread_; i < count; i += Tr::kClerks) write_group(first + i, i, count);
  }

  __device__ void gather_splits(int first, int count, int turn) const {
    const bool is_power = (count & count - 1) == 0;
#pragma unroll 1
    for (int i = thread_; i < count * only_.tasks; i += Tr::kClerks) {
      const int task = is_power ? i >> __ffs(count) - 1 : i / count;
      const int at = i - task * count, group = first + at;
      const int row = group / kGroups, column = group % kGroups * 4;
      float4* out = split_out() + task * only_.task_splits * count + at;
      float2* ml =
          group == first || column == 0 ? &weights().split[row][task * only_.task_splits] : nullptr;
      await_splits(task * only_.task_splits, row, column, turn, out, ml, count);
    }
  }

  // Splits from their pieces, to out[0], out[count] and so on, and m and l to ml. All pieces are on
  // their way before the first is looked at, and none conditionally: in place of those that no
  // other block has the own one is read.
  __device__ void await_splits(int first_split, int row, int column, int turn, float4* out,
                               float2* ml, int count) const {
    const Partials<Tr>& partials = only_.partials[only_.set];
    const float* words_at = partials.at(0, row, column);
    const float2* ml_at = partials.ml_at(0, row);
    const int first = first_split * only_.parts;
    const uint32_t others = others_from(first);
    uint4 words[kPiecesOfTask];
    uint2 mls[kPiecesOfTask];
#pragma unroll
    for (int i = 0; i < kPiecesOfTask; ++i) {
      const int piece = others >> i & 1 ? first + i : item_.piece;
      words[i] = load_relaxed_16(words_at + piece * partials.out_stride);
      mls[i] = load_relaxed_8(ml_at + piece * partials.ml_stride);
    }
    RowState sum = empty_state();
    int left = only_.parts;
#pragma unroll
    for (int i = 0; i < kPiecesOfTask; ++i) {
      if (others >> i & 1) {
        const int piece = first + i;
        while (!is_written(words[i]))
          words[i] = load_relaxed_16(words_at + piece * partials.out_stride);
        while (!is_written(mls[i])) mls[i] = load_relaxed_8(ml_at + piece * partials.ml_stride);
        sum =
            merge(sum, {__uint_as_float(mls[i].x), __uint_as_float(mls[i].y), floats_of(words[i])});
      } else if (first + i == item_.piece) {
        const float2 own = work_.shared.run_ml[turn & 1][row];
        sum = merge(sum, {own.x, own.y, work_.shared.run_out[row][column / 4]});
      }
      if (--left > 0) continue;
      if (first_split >= only_.splits) return;
      *out = sum.o;
      if (ml) *ml++ = {sum.m, sum.l};
      sum = empty_state();
      left = only_.parts, out += count, ++first_split;
    }
  }
  // The pieces from `first` on that other blocks have: bit i for piece first + i.
  __device__ uint32_t others_from(int first) const {
    const uint32_t* words = &only_.others[first / 32];
    return __funnelshift_r(words[0], words[1], first % 32);
  }

  // By a warp, a lane for each split.
  __device__ void weigh(int row) const {
    const int lane = thread_ % 32, num_splits = only_.splits;
    const float2 split = lane < num_splits ? weights().split[row][lane] : make_float2(-INFINITY, 0);
    float m = split.x;  // of the splits so far
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2)
      m = fmaxf(m, __shfl_up_sync(~0u, m, distance));  // the first lanes get their own
    float before = __shfl_up_sync(~0u, m, 1);
    if (lane == 0) before = -INFINITY;
    const float reference = finite_or_zero(m);
    const float2 weight{exp2_approx(before - reference), exp2_approx(split.x - reference)};
    weights().split[row][lane] = weight;
    float l = 0;
#pragma unroll 1
    for (int first = 0; first < num_splits; first += 4)
#pragma unroll
      for (int s = first; s < first + 4; ++s)  // splits that are not there change nothing
        l = __fmaf_rn(__shfl_sync(~0u, weight.y, s), __shfl_sync(~0u, split.y, s),
                      __fmul_rn(__shfl_sync(~0u, weight.x, s), l));
    m = __shfl_sync(~0u, m, num_splits - 1);
    if (lane == 0) weights().total[row] = {m, l};
  }

  // at: of the group in the share, which has `count`.
  __device__ void write_group(int group, int at, int count) const {
    const int row = group / kGroups;
    const float2* weight = weights().split[row];
    const float4* split = split_out() + at;
    float4 total{};
#pragma unroll 4
    for (int s = 0; s < only_.splits; ++s) add(total, weight[s], split[s * count]);
    const float2 ml = weights().total[row];
    write_row<Tr>(work_.params, item_, only_.head, row, group % kGroups * 4, {ml.x, ml.y, total});
  }
  __device__ static void add(float4& sum, const float2& weight, const float4& o) {
    sum.x = __fmaf_rn(weight.y, o.x, __fmul_rn(weight.x, sum.x));
    sum.y = __fmaf_rn(weight.y, o.y, __fmul_rn(weight.x, sum.y));
    sum.z = __fmaf_rn(weight.y, o.z, __fmul_rn(weight.x, sum.z));
    sum.w = __fmaf_rn(weight.y, o.w, __fmul_rn(weight.x, sum.w));
  }

  const Work<Tr>& work_;
  const DecodeItem& item_;
  Only& only_;
  const int thread_;
};

}  // namespace pagoda::cuda::decode

// Device only. The end of a step in which no block has a second item: one short request, or few.
// Nothing is left to hide a wait behind, so who merges a request's pieces does not wait until they
// are all reported, but for their words.
#pragma once

#include "decode_finish.cuh"

namespace pagoda::cuda::decode {

// The merging of a block's only item (kItemIsAlone) by the clerks. Other blocks may still be at
// their pieces: states are copied into the ring, which nobody needs any more, and those of which a
// word is not written yet are copied again. All of them are under way at once, so what this costs
// is one trip to the second-level cache behind the slowest piece. Meanwhile each warp takes rows
// and finds from m and l what every piece weighs, a lane for each split: with weights at hand a
// column is two operations per piece. Same roundings as merge().
template <class Tr>
class AwaitedMerge {
 public:
  __device__ AwaitedMerge(const Work<Tr>& work, int thread)
      : work_(work), item_(work.item(0)), thread_(thread) {
    end_ = work.shared.pieces_end, parts_ = work.shared.pieces_parts;
    at_once_ = Tr::kPiecesAtOnce - Tr::kPiecesAtOnce % parts_;
  }

  // What the rest needs to know of the item's pieces, in front of it and of a barrier; by one warp.
  __device__ static void find_pieces(const Work<Tr>& work) {
    const int lane = threadIdx.x % 32;
    const DecodeItem& item = work.item(0);
    const Pieces pieces(item);
    if (lane == 0) work.shared.pieces_end = pieces.end, work.shared.pieces_parts = pieces.parts;
    for (int word = 0; word < kWords; ++word) {
      const int piece = 32 * word + lane;
      const bool is_other = piece != item.piece && pieces.has(piece);
      const uint32_t set = __ballot_sync(~0u, is_other);
      if (lane == 0) work.shared.others[word] = set;
    }
  }

  // turn: of the run, which holds this block's own piece.
  __device__ void run(int turn) const {
    bool has_weights = false;
    for (int i = thread_; i - thread_ < item_.num_rows * kGroups; i += Tr::kClerks) {
      const bool is_used = i < item_.num_rows * kGroups;
      const int row = is_used ? i / kGroups : 0, column = i % kGroups * 4;
      float4 total{};
#pragma unroll 1
      for (int first = 0; first < end_; first += at_once_) {
        if (is_used) ask(first, row, column);
        if (!has_weights) {  // under way at the same time
          weigh(work_.shared.run_ml[turn & 1]);
          named_barrier_sync(1, Tr::kClerks);
          has_weights = true;
        }
        if (!is_used) break;
        await(first, row, column);
        add_pieces(first, row, total);
      }
      if (!is_used) continue;
      const float2 ml = weights().total[row];
      write_row<Tr>(work_.params, item_, work_.head(0), row, column, {ml.x, ml.y, total});
    }
  }

  // Makes this piece's words unwritten in the set of slots that the launch before has used, for the
  // next launch.
  __device__ void clear_other_set() const {
    const Partials<Tr> partials = this->partials(work_.shared.set ^ 1);
    for_columns<Tr>(item_.num_rows, thread_, Tr::kClerks, [&](int row, int column) {
      store_relaxed_16(partials.at(item_.piece, row, column),
                       make_uint4(kNotYet, kNotYet, kNotYet, kNotYet));
      if (column == 0)
        store_relaxed_8(partials.ml_at(item_.piece, row), make_uint2(kNotYet, kNotYet));
    });
  }

 private:
  static constexpr int kGroups = Tr::kHeadDimV / 4;
  static constexpr int kWords = kMaxPieces / 32 + 1;
  static_assert(sizeof(Tr::Shared::others) == 4 * kWords);

  // What the sum before a piece, or a split, and the piece itself are multiplied by.
  struct Weights {
    float2 split[Tr::kRows][kMaxSplits];
    float2 total[Tr::kRows];  // m and l in the end
  };
  using PieceWeights = float2[kMaxPieces];
  static_assert(sizeof(Weights) <= sizeof(Tr::Shared::queries));
  static_assert(Tr::kRows * sizeof(PieceWeights) <= sizeof(Tr::Shared::states));
  __device__ Weights& weights() const {
    return *reinterpret_cast<Weights*>(work_.shared.queries);
  }
  __device__ PieceWeights& piece_weights(int row) const {
    return reinterpret_cast<PieceWeights*>(work_.shared.states)[row];
  }

  // Made again where it is needed: registers are few.
  __device__ Partials<Tr> partials(int set) const {
    Partials<Tr> partials(work_.params, item_, work_.head(0));
    partials.choose_set(set, end_);
    return partials;
  }

  // The pieces from `first` on that other blocks have: bit i for piece first + i.
  __device__ uint32_t others(int first) const {
    const uint32_t* words = &work_.shared.others[first / 32];
    return __funnelshift_r(words[0], words[1], first % 32);
  }
  static constexpr uint32_t kPlaceStride = 16 * Tr::kClerks;  // bytes from piece to piece
  __device__ uint32_t place_of(int i) const {
    return shared_address(work_.shared.ring) + i * kPlaceStride + 16 * thread_;
  }

  // Sends for the pieces from `first` on into the thread's places; those that no other block has
  // become zeros.
  __device__ void ask(int first, int row, int column) const {
    const int count = min(end_ - first, at_once_);
    const uint32_t set = others(first);
    const Partials<Tr> partials = this->partials(work_.shared.set);
    const float* source = partials.at(first, row, column);
    uint32_t place = place_of(0);
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      cp_async_16(place, source, set >> i & 1);
      source += partials.out_stride, place += kPlaceStride;
    }
    cp_async_commit();
  }
  // Until they are all written.
  __device__ void await(int first, int row, int column) const {
    cp_async_wait<0>();
    while (const uint32_t missing = unwritten(first)) {
      const Partials<Tr> partials = this->partials(work_.shared.set);
      for (uint32_t left = missing; left != 0; left &= left - 1) {
        const int i = __ffs(left) - 1;
        cp_async_16(place_of(i), partials.at(first + i, row, column), true);
      }
      cp_async_wait<0>();
    }
    const int own = item_.piece - first;
    if (own >= 0 && own < at_once_)
      store_shared_16(place_of(own), words_of(work_.shared.run_out[row][column / 4]));
  }

  // Bit i: piece first + i.
  __device__ uint32_t unwritten(int first) const {
    const int count = min(end_ - first, at_once_);
    const uint32_t place = place_of(0);
    uint32_t set = 0;
#pragma unroll 4
    for (int i = 0; i < count; ++i)
      set |= is_written(load_shared_16(place + i * kPlaceStride)) ? 0 : 1u << i;
    return set;
  }

  // m and l of a lane's split.
  struct Parts {
    float2 ml[kLeaves];
  };
  __device__ Parts await_ml(int split, int row, const float2* own) const {
    const Partials<Tr> partials = this->partials(work_.shared.set);
    Parts parts;
    uint2 words[kLeaves];
    bool is_other[kLeaves];
#pragma unroll
    for (int i = 0; i < kLeaves; ++i) {  // all on their way before the first is looked at
      const int piece = split * parts_ + i;
      parts.ml[i] = {-INFINITY, 0};
      is_other[i] =
          i < parts_ && piece < end_ && (work_.shared.others[piece / 32] >> piece % 32 & 1);
      if (is_other[i]) words[i] = load_relaxed_8(partials.ml_at(piece, row));
      if (i < parts_ && piece == item_.piece) parts.ml[i] = own[row];
    }
#pragma unroll
    for (int i = 0; i < kLeaves; ++i) {
      if (!is_other[i]) continue;
      const float2* source = partials.ml_at(split * parts_ + i, row);
      while (!is_written(words[i])) words[i] = load_relaxed_8(source);
      parts.ml[i] = {__uint_as_float(words[i].x), __uint_as_float(words[i].y)};
    }
    return parts;
  }

  __device__ void weigh(const float2* own) const {
    const int lane = thread_ % 32, num_splits = end_ / parts_;
    for (int row = thread_ / 32; row < item_.num_rows; row += Tr::kClerks / 32) {
      const Parts parts = await_ml(lane, row, own);
      float2 split{-INFINITY, 0};
#pragma unroll
      for (int i = 0; i < kLeaves; ++i) {
        if (i >= parts_) break;
        const float2 part = parts.ml[i];
        const float m = fmaxf(split.x, part.x), reference = finite_or_zero(m);
        const float2 weight{exp2_approx(split.x - reference), exp2_approx(part.x - reference)};
        split = {m, __fmaf_rn(weight.y, part.y, __fmul_rn(weight.x, split.y))};
        if (lane < num_splits) piece_weights(row)[lane * parts_ + i] = weight;
      }
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
      for (int s = 0; s < num_splits; ++s)
        l = __fmaf_rn(__shfl_sync(~0u, weight.y, s), __shfl_sync(~0u, split.y, s),
                      __fmul_rn(__shfl_sync(~0u, weight.x, s), l));
      m = __shfl_sync(~0u, m, num_splits - 1);
      if (lane == 0) weights().total[row] = {m, l};
    }
  }

  __device__ static void add(float4& sum, const float2& weight, const float4& o) {
    sum.x = __fmaf_rn(weight.y, o.x, __fmul_rn(weight.x, sum.x));
    sum.y = __fmaf_rn(weight.y, o.y, __fmul_rn(weight.x, sum.y));
    sum.z = __fmaf_rn(weight.y, o.z, __fmul_rn(weight.x, sum.z));
    sum.w = __fmaf_rn(weight.y, o.w, __fmul_rn(weight.x, sum.w));
  }
  // Adds the pieces from `first` on, whole splits.
  __device__ void add_pieces(int first, int row, float4& total) const {
    switch (parts_) {
      case 1:
        return add_splits<1>(first, row, total);
      case 2:
        return add_splits<2>(first, row, total);
      case 3:
        return add_splits<3>(first, row, total);
      default:
        return add_splits<4>(first, row, total);
    }
  }
  template <int kParts>
  __device__ void add_splits(int first, int row, float4& total) const {
    static_assert(kParts <= kLeaves && kLeaves == 4);
    const float2* of_pieces = &piece_weights(row)[first];
    const float2* of_splits = &weights().split[row][first / kParts];
    const float2* const end = of_pieces + min(end_ - first, at_once_);
    uint32_t place = place_of(0);
#pragma unroll 1
    for (; of_pieces != end; of_pieces += kParts) {
      uint4 words[kParts];
#pragma unroll
      for (int i = 0; i < kParts; ++i) words[i] = load_shared_16(place + i * kPlaceStride);
      float4 split{};
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
        add(split, of_pieces[i], floats_of(words[i]));
      }
      add(total, *of_splits++, split);
      place += kParts * kPlaceStride;
    }
  }

  const Work<Tr>& work_;
  const DecodeItem& item_;
  const int thread_;
  int end_, parts_;  // see Pieces
  int at_once_;      // pieces, of whole splits
};

}  // namespace pagoda::cuda::decode

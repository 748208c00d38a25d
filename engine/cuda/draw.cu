// The draw of tokens: one block a row of logits. sampling_rules.h says what is drawn; here is how
// the searches are made. A histogram over the keys finds how far the most probable tokens go that
// top-k or top-p may leave; mostly they are few, and are sorted. Else each search goes on with a
// histogram of the chosen bin, until it holds a single key.
#include "engine/cuda/device_memory.h"
#include "engine/cuda/kernels.h"
#include "engine/cuda/rows.cuh"

namespace pagoda::engine::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kNumWarps = kThreads / kWarp;
constexpr int kBins = 256;
constexpr int kBinBits = 8;
// The first histogram has bins a quarter wide, so that the logits of a model spread over many; the
// last of them is open and has all that lie further below the largest than 64. This changes speed,
// never results.
constexpr int kFirstBits = kTokenBits + kDeltaFraction + 6;
constexpr float kBinsPerUnit = 4;  // of a first bin, by logits

constexpr int kMaxList = kThreads;  // tokens that are sorted; changes speed, never results

struct Shared {
  unsigned long long weights[kBins];
  int counts[kBins];
  unsigned long long partial[kNumWarps];
  float top_logit[kNumWarps];
  int32_t top_token[kNumWarps];
  // The bin that a target lies in, what is left of the target there, and its candidates.
  uint64_t bin, target;
  int count;
  uint64_t key;  // that was looked for
  uint64_t list[kMaxList];
  int list_size;
};

class Row {
 public:
  __device__ Row(const DrawRows& rows, Shared& shared)
      : draw_(rows.draws[blockIdx.x]),
        logits_(rows.logits + blockIdx.x * rows.stride),
        seen_(rows.seen + blockIdx.x * ((int64_t{rows.vocab_size} + 31) / 32)),
        vocab_size_(rows.vocab_size),
        shared_(shared) {}

  __device__ DrawnToken draw() {
    const DrawnToken top = largest();
    top_ = top.logit;
    if (!isfinite(top_)) return {-1, top_};
    if (draw_.temperature == 0) return top;
    if (draws_by_probability(draw_, vocab_size_) && make_list()) return {draw_from_list(), top_};
    if (has_top_k())
      last_key_ = find([](uint64_t, float) { return 1ull; }, top_k_target(draw_.top_k));
    const auto weight = [this](uint64_t key, float logit) { return weight_of(key, logit); };
    if (draw_.top_p < 1) last_key_ = find(weight, top_p_target(draw_.top_p, total()));
    min_weight_ = fixed_weight(draw_.min_p);
    const uint64_t target = draw_target(draw_, total());
    const uint64_t key =
        draws_by_probability(draw_, vocab_size_) ? find(weight, target) : find_by_id(target);
    return {token_of(key), top_};
  }

 private:
  __device__ bool has_top_k() const { return draw_.top_k > 0 && draw_.top_k < vocab_size_; }

  // As the model gave it, less the penalty; -inf for NaN, and 0 for -0, which is the same.
  __device__ float logit(int32_t token) const {
    float value = logits_[token];
    if (isnan(value)) value = -INFINITY;
    if (draw_.repetition_penalty != 1 && (seen_[token / 32] >> (token % 32) & 1) != 0)
      value = penalised(value, draw_.repetition_penalty);
    return value + 0.0f;
  }

  // 0 for what is no candidate.
  __device__ unsigned long long weight_of(uint64_t key, float logit) const {
    if (key > last_key_) return 0;
    const uint64_t weight = fixed_weight(expf((logit - top_) / draw_.temperature));
    return weight < min_weight_ ? 0 : weight;
  }

  // The first of the largest.
  __device__ DrawnToken largest() {
    float best = -INFINITY;
    int32_t at = INT32_MAX;
    const auto take = [&](float value, int32_t token) {
      if (value > best || (value == best && token < at)) best = value, at = token;
    };
    for (int32_t i = threadIdx.x; i < vocab_size_; i += kThreads) take(logit(i), i);
    for (int step = kWarp / 2; step > 0; step /= 2)
      take(__shfl_xor_sync(kAllLanes, best, step), __shfl_xor_sync(kAllLanes, at, step));
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    if (lane == 0) shared_.top_logit[warp] = best, shared_.top_token[warp] = at;
    __syncthreads();
    for (int i = 0; i < kNumWarps; i++) take(shared_.top_logit[i], shared_.top_token[i]);
    return {at, best};
  }

  // Of all candidates.
  __device__ uint64_t total() {
    unsigned long long sum = 0;
    for (int32_t i = threadIdx.x; i < vocab_size_; i += kThreads)
      sum += weight_of(key_of(top_, logit(i), i), logit(i));
    __syncthreads();  // who still reads the last sums
    return block_sum(sum, shared_.partial);
  }

  // The bins of all keys, with the number of keys if there is a top-k, otherwise their weights.
  __device__ void fill_first_bins() {
    if (threadIdx.x < kBins) shared_.weights[threadIdx.x] = 0, shared_.counts[threadIdx.x] = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < vocab_size_; i += kThreads) {
      const float value = logit(i);
      const int bin = static_cast<int>(fminf((top_ - value) * kBinsPerUnit, kBins - 1));
      if (has_top_k())
        atomicAdd(&shared_.counts[bin], 1);
      else if (const uint64_t weight = fixed_weight(expf((value - top_) / draw_.temperature)))
        atomicAdd(&shared_.weights[bin], static_cast<unsigned long long>(weight));
    }
    __syncthreads();
    if (has_top_k() && threadIdx.x < kBins)
      shared_.weights[threadIdx.x] = static_cast<unsigned long long>(shared_.counts[threadIdx.x]);
    __syncthreads();
  }

  __device__ uint64_t total_of_bins() const {
    unsigned long long sum = 0;
    for (int i = threadIdx.x % kWarp; i < kBins; i += kWarp) sum += shared_.weights[i];
    return warp_sum(sum);
  }

  // The keys up to the bin in which top-k, or without it top-p, ends, in their order. False if they
  // are too many.
  __device__ bool make_list() {
    fill_first_bins();
    total_ = total_of_bins();
    choose_bin(has_top_k() ? top_k_target(draw_.top_k) : top_p_target(draw_.top_p, total_));
    const auto bin = static_cast<int>(shared_.bin);
    if (threadIdx.x == 0) shared_.list_size = 0;
    __syncthreads();
    if (bin == kBins - 1) return false;
    const float end = static_cast<float>(bin + 1) / kBinsPerUnit;
    for (int32_t i = threadIdx.x; i < vocab_size_; i += kThreads) {
      const float value = logit(i);
      if (top_ - value >= end) continue;
      const int at = atomicAdd(&shared_.list_size, 1);
      if (at < kMaxList) shared_.list[at] = key_of(top_, value, i);
    }
    __syncthreads();
    if (shared_.list_size > kMaxList) return false;
    sort_list();
    return true;
  }

  // A bitonic sort (Batcher 1968); what is missing to a power of two is larger than any key.
  __device__ void sort_list() {
    const int thread = static_cast<int>(threadIdx.x);
    int size = 1;
    while (size < shared_.list_size) size *= 2;
    if (thread >= shared_.list_size) shared_.list[thread] = ~uint64_t{0};
    for (int run = 2; run <= size; run *= 2)
      for (int step = run / 2; step > 0; step /= 2) {
        __syncthreads();
        const int other = thread ^ step;
        if (other < thread || thread >= size) continue;
        const uint64_t a = shared_.list[thread], b = shared_.list[other];
        if ((a > b) == ((thread & run) == 0)) shared_.list[thread] = b, shared_.list[other] = a;
      }
    __syncthreads();
  }

  // Every thread has one token of the list.
  __device__ int32_t draw_from_list() {
    const int thread = static_cast<int>(threadIdx.x);
    const bool is_there = thread < shared_.list_size && !(has_top_k() && thread >= draw_.top_k);
    const uint64_t key = shared_.list[thread];
    unsigned long long weight = is_there ? weight_of(key, logit(token_of(key))) : 0;
    if (draw_.top_p < 1) {
      const auto [before, total] = sum_before(weight);
      const uint64_t target = top_p_target(draw_.top_p, has_top_k() ? total : total_);
      if (before > target) weight = 0;
    }
    if (weight < fixed_weight(draw_.min_p)) weight = 0;
    const auto [before, total] = sum_before(weight);
    const uint64_t target = draw_target(draw_, total);
    if (before <= target && target < before + weight) shared_.key = key;
    __syncthreads();
    return token_of(shared_.key);
  }

  struct Sums {
    unsigned long long before, total;
  };

  // Of the threads before this one, and of all.
  __device__ Sums sum_before(unsigned long long value) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    Sums sums = {warp_sum_before(value), 0};
    __syncthreads();  // who still reads the last sums
    if (lane == kWarp - 1) shared_.partial[warp] = sums.before + value;
    __syncthreads();
    for (int i = 0; i < kNumWarps; i++) {
      if (i < warp) sums.before += shared_.partial[i];
      sums.total += shared_.partial[i];
    }
    return sums;
  }

  // The smallest key at which the weights of the keys up to it exceed the target, which is below
  // their total. weight(key, logit) is an integer.
  template <class Weight>
  __device__ uint64_t find(const Weight& weight, uint64_t target) {
    uint64_t low = 0;       // the key is this or above,
    int bits = kFirstBits;  // by less than 2^bits
    bool open = true;       // or by more
    while (bits > 0) {
      const int shift = bits > kBinBits ? bits - kBinBits : 0;
      fill_bins(weight, low, shift, open);
      choose_bin(target);
      target = shared_.target;
      low += shared_.bin << shift;
      bits = open && shared_.bin == kBins - 1 ? 64 : shift;
      open = false;
      if (shared_.count == 1 && bits > 0) return only_key(weight, low, bits);
      __syncthreads();  // all have read before the next bins
    }
    return low;
  }

  template <class Weight>
  __device__ void fill_bins(const Weight& weight, uint64_t low, int shift, bool open) {
    if (threadIdx.x < kBins) shared_.weights[threadIdx.x] = 0, shared_.counts[threadIdx.x] = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < vocab_size_; i += kThreads) {
      const float value = logit(i);
      const uint64_t key = key_of(top_, value, i);
      const uint64_t bin = (key - low) >> shift;
      if (key < low || (bin >= kBins && !open)) continue;
      const unsigned long long added = weight(key, value);
      if (added == 0) continue;
      const int at = bin < kBins ? static_cast<int>(bin) : kBins - 1;
      atomicAdd(&shared_.weights[at], added);
      atomicAdd(&shared_.counts[at], 1);
    }
    __syncthreads();
  }

  // The first bin at which the weights up to it exceed the target; by the first warp.
  __device__ void choose_bin(uint64_t target) {
    constexpr int kBinsPerLane = kBins / kWarp;
    if (threadIdx.x < kWarp) {
      const int first = threadIdx.x * kBinsPerLane;
      unsigned long long own = 0;
      for (int i = 0; i < kBinsPerLane; i++) own += shared_.weights[first + i];
      unsigned long long before = warp_sum_before(own);
      if (before <= target && target < before + own) {
        int bin = first;
        for (; target >= before + shared_.weights[bin]; bin++) before += shared_.weights[bin];
        shared_.bin = bin;
        shared_.target = target - before;
        shared_.count = shared_.counts[bin];
      }
    }
    __syncthreads();
  }

  // Of the candidate that is alone in its bin.
  template <class Weight>
  __device__ uint64_t only_key(const Weight& weight, uint64_t low, int bits) {
    for (int32_t i = threadIdx.x; i < vocab_size_; i += kThreads) {
      const float value = logit(i);
      const uint64_t key = key_of(top_, value, i);
      if (key < low || (bits < 64 && (key - low) >> bits != 0)) continue;
      if (weight(key, value) != 0) shared_.key = key;
    }
    __syncthreads();
    const uint64_t key = shared_.key;
    __syncthreads();
    return key;
  }

  // The same in the order of ids: every thread has a stretch of them.
  __device__ uint64_t find_by_id(uint64_t target) {
    const int32_t stretch = (vocab_size_ + kThreads - 1) / kThreads;
    const int32_t begin = min(static_cast<int32_t>(threadIdx.x) * stretch, vocab_size_);
    const int32_t end = min(begin + stretch, vocab_size_);
    const auto weight = [this](int32_t token) {
      const float value = logit(token);
      return weight_of(key_of(top_, value, token), value);
    };
    unsigned long long own = 0;
    for (int32_t i = begin; i < end; i++) own += weight(i);
    unsigned long long before = sum_before(own).before;
    if (before <= target && target < before + own) {
      int32_t token = begin;
      for (; target >= before + weight(token); token++) before += weight(token);
      shared_.key = static_cast<uint64_t>(token);
    }
    __syncthreads();
    return shared_.key;
  }

  const DrawParams draw_;
  const float* const logits_;   // [vocab_size]
  const uint32_t* const seen_;  // [ceil(vocab_size / 32)]
  const int32_t vocab_size_;
  Shared& shared_;
  float top_ = 0;
  uint64_t total_ = 0;                // of the first bins
  uint64_t last_key_ = ~uint64_t{0};  // of the candidates
  uint64_t min_weight_ = 0;           // likewise
};

__global__ void __launch_bounds__(kThreads) draw_kernel(DrawRows rows) {
  __shared__ Shared shared;
  const DrawnToken drawn = Row(rows, shared).draw();
  if (threadIdx.x == 0) rows.out[blockIdx.x] = drawn;
}

}  // namespace

void queue_draw(const DrawRows& rows, cudaStream_t stream) {
  if (rows.num_draws == 0) return;
  draw_kernel<<<static_cast<unsigned>(rows.num_draws), kThreads, 0, stream>>>(rows);
  check_cuda(cudaGetLastError(), "launching the draw of tokens");
}

}  // namespace pagoda::engine::cuda

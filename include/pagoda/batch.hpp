// batch.hpp - batch.h in C++20: vectors and spans in place of pointers, exceptions. Header-only.
#pragma once

#include <pagoda/batch.h>

#include <cstdint>
#include <pagoda/pagoda.hpp>
#include <span>
#include <type_traits>
#include <vector>

namespace pagoda {
inline namespace v1 {

using ThresholdOptions = Sized<pagoda_threshold_options>;
using SplitOptions = Sized<pagoda_split_options>;
using Split = Sized<pagoda_split>;
using SharedLayer = Sized<pagoda_shared_layer>;
using CrossBatch = Sized<pagoda_cross_batch>;

// What an engine knows about the requests of a step; the three spans have one length.
struct StepRequests : Sized<pagoda_step_requests> {
  StepRequests(std::span<const int32_t> lens, std::span<const int32_t> computed,
               std::span<const int32_t> prompt) {
    num_reqs = static_cast<int32_t>(lens.size());
    query_lens = lens.data();
    num_computed = computed.data();
    num_prompt = prompt.data();
  }
};

inline int32_t decode_threshold(const ThresholdOptions& options) {
  int32_t threshold = 0;
  check(pagoda_decode_threshold(&options, &threshold));
  return threshold;
}

// Place i is for request order[i].
struct Order {
  std::vector<int32_t> order;
  bool changed = false;

  template <class T>
  void apply(std::span<T> rows) const {
    static_assert(std::is_trivially_copyable_v<T>);
    check(pagoda_apply_order(order.data(), static_cast<int32_t>(order.size()), rows.data(),
                             sizeof(T), sizeof(T)));
  }
};

inline Order order_batch(const StepRequests& requests, int32_t threshold) {
  Order found{.order = std::vector<int32_t>(static_cast<size_t>(requests.num_reqs))};
  int32_t changed = 0;
  check(pagoda_order_batch(&requests, threshold, found.order.data(), &changed));
  found.changed = changed == 1;
  return found;
}

// query_start_loc: [num_reqs + 1]
inline Split split_decodes(std::span<const int32_t> query_start_loc, int32_t num_tokens,
                           const SplitOptions& options = {}) {
  Split split;
  check(pagoda_split_decodes(query_start_loc.data(),
                             static_cast<int32_t>(query_start_loc.size()) - 1, num_tokens, &options,
                             &split));
  return split;
}

// query_start_loc: [num_reqs + 1], seq_lens: [num_reqs]
inline Split split_extends(std::span<const int32_t> query_start_loc,
                           std::span<const int32_t> seq_lens, int32_t num_tokens,
                           int32_t threshold) {
  Split split;
  check(pagoda_split_extends(query_start_loc.data(), seq_lens.data(),
                             static_cast<int32_t>(seq_lens.size()), num_tokens, threshold, &split));
  return split;
}

// Requests [first, first + count) of a batch; borrows the rest of its arrays.
struct SubBatch {
  std::vector<int32_t> query_start_loc;  // [count + 1]
  Batch batch;
  int32_t first_token = 0;
};

inline SubBatch sub_batch(const Batch& whole, int32_t first, int32_t count) {
  SubBatch sub{.query_start_loc = std::vector<int32_t>(static_cast<size_t>(count) + 1)};
  check(pagoda_sub_batch(&whole, first, count, sub.query_start_loc.data(), &sub.batch,
                         &sub.first_token));
  return sub;
}

// Some of the last query tokens of each request as the queries of a batch of their own.
inline SubBatch last_queries(const Batch& whole, std::span<const int32_t> tokens) {
  SubBatch some{.query_start_loc = std::vector<int32_t>(static_cast<size_t>(whole.num_reqs) + 1)};
  check(pagoda_last_queries(&whole, tokens.data(), static_cast<int32_t>(tokens.size()),
                            some.query_start_loc.data(), &some.batch));
  return some;
}

// The virtual requests of chunked local attention, with the arrays that they need.
class ChunkedBatch {
 public:
  ChunkedBatch(const Batch& batch, int32_t chunk, int32_t page_size)
      : chunk_(chunk), page_size_(page_size) {
    check(pagoda_chunked_capacity(&batch, chunk, &chunked_.capacity));
    const auto capacity = static_cast<size_t>(chunked_.capacity);
    storage_.resize(4 * capacity + 1);
    chunked_.query_start_loc = storage_.data();
    chunked_.seq_lens = chunked_.query_start_loc + capacity + 1;
    chunked_.request = chunked_.seq_lens + capacity;
    chunked_.first_page = chunked_.request + capacity;
    check(pagoda_make_chunked(&batch, chunk, page_size, &chunked_));
  }
  ChunkedBatch(const ChunkedBatch&) = delete;
  ChunkedBatch& operator=(const ChunkedBatch&) = delete;

  const pagoda_chunked_batch& get() const { return chunked_; }

  // The batch to prepare a causal plan with; `real` is the one this was made from, perhaps with
  // another page table and slots. Borrows from `real` and from this object until the next call.
  Batch batch(const Batch& real) {
    const auto pages = static_cast<size_t>(chunk_ / page_size_);
    page_table_.resize(static_cast<size_t>(chunked_.num_reqs) * pages);
    check(pagoda_chunked_table(&chunked_, &real, chunk_, page_size_, page_table_.data()));
    Batch made = real;
    made.num_reqs = chunked_.num_reqs;
    made.max_query_len = chunked_.max_query_len;
    made.max_seq_len = chunked_.max_seq_len;
    made.query_start_loc = chunked_.query_start_loc;
    made.seq_lens = chunked_.seq_lens;
    made.page_table = page_table_.data();
    made.page_table_stride = made.page_table_width = static_cast<int32_t>(pages);
    made.causal = nullptr;
    made.block_mask = nullptr;
    return made;
  }

 private:
  int32_t chunk_, page_size_;
  Sized<pagoda_chunked_batch> chunked_;
  std::vector<int32_t> storage_, page_table_;
};

inline void pad_batch(Batch& batch, int32_t num_reqs, int32_t num_tokens) {
  check(pagoda_pad_batch(&batch, num_reqs, num_tokens));
}

}  // namespace v1
}  // namespace pagoda

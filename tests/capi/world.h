// A small valid step through the C interface, every part of which a test may spoil: two requests on
// pages of 8 tokens, 4 query heads over 2 key heads. Runs create, prepare, update_cache, forward
// and stops at the first call that fails.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

namespace pagoda::test {

struct Result {
  pagoda_status status = PAGODA_OK;
  std::string sentence;
};

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};
using AlignedBytes = std::unique_ptr<std::byte, FreeAligned>;

inline AlignedBytes aligned_bytes(size_t size) {
  const size_t rounded = (size + 256) / 256 * 256;
  return AlignedBytes(static_cast<std::byte*>(std::aligned_alloc(256, rounded)));
}

struct World {
  static constexpr int kPages = 8, kPageSize = 8, kKvHeads = 2, kHeads = 4, kDim = 16, kTokens = 5;

  explicit World(const char* backend) {
    options.backend = backend;
    options.num_threads = 1;
    spec.num_heads = kHeads;
    spec.num_kv_heads = kKvHeads;
    spec.head_dim = kDim;
    spec.page_size = kPageSize;
    spec.causal = 1;
    limits.max_reqs = 2;
    limits.max_tokens = 8;
    limits.max_query_len = 6;
    limits.max_seq_len = 64;
    limits.num_pages = kPages;
    batch.num_reqs = 2;
    batch.num_tokens = kTokens;
    batch.query_start_loc = query_start_loc.data();
    batch.seq_lens = seq_lens.data();
    batch.page_table = page_table.data();
    batch.page_table_stride = batch.page_table_width = 2;
    batch.slot_mapping = slots.data();
    key_cache = Tensor(cache_k.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads, kDim});
    value_cache = Tensor(cache_v.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads, kDim});
    layer.key_cache = &key_cache;
    layer.value_cache = &value_cache;
    key = Tensor(new_k.data(), PAGODA_F32, {kTokens, kKvHeads, kDim});
    value = Tensor(new_v.data(), PAGODA_F32, {kTokens, kKvHeads, kDim});
    query = Tensor(q.data(), PAGODA_F32, {kTokens, kHeads, kDim});
    out = Tensor(o.data(), PAGODA_F32, {kTokens, kHeads, kDim});
    lse = Tensor(l.data(), PAGODA_F32, {kHeads, kTokens});
  }
  ~World() { destroy(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // What the calls get. A null pointer here is passed on as it is.
  ContextOptions options;
  Spec spec;
  Limits limits;
  Tuning tuning;
  Batch batch;
  Layer layer;
  std::vector<int32_t> query_start_loc{0, 3, 5}, seq_lens{11, 5};
  std::vector<int32_t> page_table{1, 2, 3,
                                  0x7fffffff};  // the last entry is past the request's pages
  std::vector<int64_t> slots{16, 17, 18, 27, 28};
  Tensor key_cache, value_cache, key, value, query, out, lse;
  const pagoda_tensor* key_of_forward = nullptr;
  const pagoda_tensor* value_of_forward = nullptr;
  pagoda_stream stream = nullptr;
  std::vector<float> alibi_slopes = std::vector<float>(kHeads, 0.5f);
  std::vector<float> sinks = std::vector<float>(kHeads, 1.0f);
  size_t workspace_missing = 0;  // bytes fewer than needed
  size_t workspace_shift = 0;    // bytes off alignment
  bool no_workspace = false, skip_prepare = false, skip_update = false, skip_forward = false;

  Result run() {
    destroy();
    if (const pagoda_status s = pagoda_context_create(&options, &context)) return failed(s);
    if (const pagoda_status s = pagoda_plan_create(context, &spec, &limits, &tuning, &plan))
      return failed(s);
    return step();
  }

  Result step() {
    const size_t size = pagoda_plan_workspace_size(plan);
    workspace = aligned_bytes(size + workspace_shift);
    if (!skip_prepare) {
      void* memory = no_workspace ? nullptr : workspace.get() + workspace_shift;
      if (const pagoda_status s =
              pagoda_plan_prepare(plan, &batch, memory, size - workspace_missing, stream))
        return failed(s);
    }
    if (!skip_update)
      if (const pagoda_status s = pagoda_update_cache(plan, &layer, &key, &value, stream))
        return failed(s);
    if (skip_forward) return {};
    if (const pagoda_status s = pagoda_forward(plan, &layer, &query, key_of_forward,
                                               value_of_forward, &out, &lse, stream))
      return failed(s);
    return {};
  }

  pagoda_context* context = nullptr;
  pagoda_plan* plan = nullptr;
  AlignedBytes workspace;
  std::vector<float> cache_k = std::vector<float>(kPages * kPageSize * kKvHeads * kDim, 0.25f);
  std::vector<float> cache_v = std::vector<float>(kPages * kPageSize * kKvHeads * kDim, 0.5f);
  std::vector<float> new_k = std::vector<float>(kTokens * kKvHeads * kDim, 0.125f);
  std::vector<float> new_v = std::vector<float>(kTokens * kKvHeads * kDim, 2.0f);
  std::vector<float> q = std::vector<float>(kTokens * kHeads * kDim, 1.0f);
  std::vector<float> o = std::vector<float>(kTokens * kHeads * kDim);
  std::vector<float> l = std::vector<float>(kHeads * kTokens);

 private:
  static Result failed(pagoda_status status) { return {status, pagoda_last_error()}; }

  void destroy() {
    pagoda_plan_destroy(plan);
    pagoda_context_destroy(context);
    plan = nullptr;
    context = nullptr;
  }
};

}  // namespace pagoda::test

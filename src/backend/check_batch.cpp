#include "check_batch.h"

#include "../core/error.h"

namespace pagoda {
namespace {

void check_query_start_loc(const Batch& batch) {
  expect(batch.query_start_loc[0] == 0, PAGODA_INVALID_ARGUMENT, "query_start_loc[0] is ",
         batch.query_start_loc[0], "; it is 0");
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    const int64_t begin = batch.query_start_loc[r], end = batch.query_start_loc[r + 1];
    expect(end >= begin, PAGODA_INVALID_ARGUMENT, "query_start_loc[", r + 1, "] is ", end,
           ", below query_start_loc[", r, "], ", begin, "; it never falls");
    expect(end - begin <= batch.max_query_len, PAGODA_OUT_OF_LIMITS, "request ", r, " has ",
           end - begin, " query tokens; the bound of this step is ", batch.max_query_len,
           " (batch.max_query_len, or limits.max_query_len)");
  }
  const int32_t total = batch.query_start_loc[batch.num_reqs];
  expect(total <= batch.num_tokens, PAGODA_INVALID_ARGUMENT, "query_start_loc[", batch.num_reqs,
         "] is ", total, ", but the batch has ", batch.num_tokens, " tokens");
}

void check_pages(const Problem& problem, const Batch& batch, int32_t r) {
  const int64_t len = local_len(problem.shard, batch.seq_lens[r]);
  const int64_t pages = (len + problem.page_size - 1) / problem.page_size;
  expect(pages <= batch.page_table_width, PAGODA_INVALID_ARGUMENT, "request ", r, " has ", len,
         " tokens", problem.shard.is_whole() ? "" : " on this rank", " on ", pages,
         " pages, but the page table has ", batch.page_table_width,
         " columns (batch.page_table_width)");
  const int32_t* row = batch.page_table + r * batch.page_table_stride;
  for (int64_t i = 0; i < pages; ++i)
    expect(row[i] >= 0 && row[i] < problem.limits.num_pages, PAGODA_INVALID_ARGUMENT, "page_table[",
           r, "][", i, "] is ", row[i], "; pages are 0 to ", problem.limits.num_pages - 1,
           " (limits.num_pages)");
}

void check_slots(const Problem& problem, const Batch& batch) {
  const int64_t num_slots = problem.limits.num_pages * problem.page_size;
  for (int32_t t = 0; t < batch.num_tokens; ++t)
    expect(batch.slot_mapping[t] < num_slots, PAGODA_INVALID_ARGUMENT, "slot_mapping[", t, "] is ",
           batch.slot_mapping[t], "; slots are below ", num_slots,
           " (limits.num_pages * page_size)");
}

}  // namespace

void check_batch_on_host(const Problem& problem, const Batch& batch) {
  check_query_start_loc(batch);
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    expect(batch.seq_lens[r] >= 0, PAGODA_INVALID_ARGUMENT, "seq_lens[", r, "] is ",
           batch.seq_lens[r], "; a length is at least 0");
    expect(batch.seq_lens[r] <= batch.max_seq_len, PAGODA_OUT_OF_LIMITS, "seq_lens[", r, "] is ",
           batch.seq_lens[r], "; the bound of this step is ", batch.max_seq_len,
           " (batch.max_seq_len, or limits.max_seq_len)");
    if (batch.causal != nullptr)
      expect(batch.causal[r] <= 1, PAGODA_INVALID_ARGUMENT, "causal[", r, "] is ",
             static_cast<int>(batch.causal[r]), "; it is 0 or 1");
    if (problem.has_cache()) check_pages(problem, batch, r);
  }
  if (problem.has_cache() && batch.slot_mapping != nullptr) check_slots(problem, batch);
  if (batch.block_mask) check_block_mask_on_host(batch);
}

void check_keys_on_host(const Batch& batch, int64_t num_keys) {
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    const int64_t begin = batch.key_start_loc[r], len = batch.seq_lens[r];
    expect(begin >= 0 && begin + len <= num_keys, PAGODA_INVALID_ARGUMENT, "request ", r, " has ",
           len, " keys from row ", begin, ", but key has ", num_keys, " rows (key_start_loc)");
  }
}

}  // namespace pagoda

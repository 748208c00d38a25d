#include "sub_batch.h"

#include <algorithm>
#include <vector>

#include "../core/error.h"
#include "split.h"

namespace pagoda {
namespace {

// The arrays of a batch are const because attention only reads them; they are the caller's, who
// asks here to have them completed.
template <class T>
void fill(const T* array, int64_t begin, int64_t end, T value) {
  if (array != nullptr)
    std::fill(const_cast<T*>(array) + begin, const_cast<T*>(array) + end, value);
}

void pad_table(const pagoda_batch& batch, int32_t num_reqs) {
  for (int64_t r = batch.num_reqs; r < num_reqs; ++r)
    fill(batch.page_table, r * batch.page_table_stride,
         r * batch.page_table_stride + batch.page_table_width, 0);
}

template <class T>
const T* advance(const T* array, int64_t by) {
  return array == nullptr ? nullptr : array + by;
}

}  // namespace

void check_host_batch(const pagoda_batch& batch) {
  check_split_input({.query_start_loc = batch.query_start_loc,
                     .num_reqs = batch.num_reqs,
                     .num_tokens = batch.num_tokens});
  expect(batch.seq_lens != nullptr || batch.num_reqs == 0, PAGODA_INVALID_ARGUMENT,
         "batch.seq_lens is NULL; it has num_reqs entries");
  expect(batch.page_table == nullptr || batch.page_table_stride >= batch.page_table_width,
         PAGODA_INVALID_ARGUMENT, "batch.page_table_stride is ", batch.page_table_stride,
         "; it is at least batch.page_table_width, ", batch.page_table_width);
}

SubBatch sub_batch(const pagoda_batch& batch, int32_t first, int32_t count,
                   int32_t* query_start_loc) {
  check_host_batch(batch);
  expect(first >= 0 && count >= 0 && count <= batch.num_reqs - first, PAGODA_INVALID_ARGUMENT,
         "requests ", first, " to ", int64_t{first} + count, " were asked for; the batch has ",
         batch.num_reqs);
  expect(query_start_loc != nullptr || first == 0, PAGODA_INVALID_ARGUMENT,
         "query_start_loc is NULL, but a sub-batch that begins at request ", first,
         " needs one that begins at 0");
  const int32_t begin = batch.query_start_loc[first], end = batch.query_start_loc[first + count];
  pagoda_batch sub = batch;
  sub.num_reqs = count;
  sub.num_tokens = end - begin;
  sub.seq_lens = advance(batch.seq_lens, first);
  sub.page_table = advance(batch.page_table, first * batch.page_table_stride);
  sub.slot_mapping = advance(batch.slot_mapping, begin);
  sub.key_start_loc = advance(batch.key_start_loc, first);
  sub.causal = advance(batch.causal, first);
  sub.block_mask = nullptr;
  if (query_start_loc != nullptr) {
    for (int32_t r = 0; r <= count; ++r)
      query_start_loc[r] = batch.query_start_loc[first + r] - begin;
    sub.query_start_loc = query_start_loc;
  }
  return {.batch = sub, .first_token = begin};
}

pagoda_batch last_queries(const pagoda_batch& batch, const int32_t* tokens, int32_t num_tokens,
                          int32_t* query_start_loc) {
  check_host_batch(batch);
  // Each request's tokens are counted from its end, where positions are aligned.
  std::vector<int32_t> starts(static_cast<size_t>(batch.num_reqs) + 1);
  int32_t taken = 0, longest = 0;
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    const int32_t end = batch.query_start_loc[r + 1];
    const int32_t first = taken;
    while (taken < num_tokens && tokens[taken] < end) ++taken;
    const int32_t count = taken - first;
    for (int32_t i = 0; i < count; ++i)
      expect(tokens[first + i] == end - count + i && tokens[first + i] >= batch.query_start_loc[r],
             PAGODA_INVALID_ARGUMENT, "tokens[", first + i, "] is ", tokens[first + i],
             ", which is none of the last ", count, " of request ", r, ", whose rows end before ",
             end);
    starts[static_cast<size_t>(r) + 1] = taken;
    longest = std::max(longest, count);
  }
  expect(taken == num_tokens, PAGODA_INVALID_ARGUMENT, "tokens[", taken, "] is ",
         taken < num_tokens ? tokens[taken] : 0, "; the requests have ",
         batch.query_start_loc[batch.num_reqs], " rows");
  std::copy(starts.begin(), starts.end(), query_start_loc);
  pagoda_batch some = batch;
  some.num_tokens = num_tokens;
  some.max_query_len = longest;
  some.query_start_loc = query_start_loc;
  some.slot_mapping = nullptr;
  some.block_mask = nullptr;
  return some;
}

pagoda_batch pad_batch(const pagoda_batch& batch, int32_t num_reqs, int32_t num_tokens) {
  check_host_batch(batch);
  expect(num_reqs >= batch.num_reqs && num_tokens >= batch.num_tokens, PAGODA_INVALID_ARGUMENT,
         "a batch of ", batch.num_reqs, " requests and ", batch.num_tokens,
         " tokens cannot be padded to ", num_reqs, " and ", num_tokens);
  const int64_t from = batch.num_reqs;
  fill(batch.query_start_loc, from + 1, int64_t{num_reqs} + 1, batch.query_start_loc[from]);
  fill(batch.seq_lens, from, num_reqs, 0);
  fill(batch.causal, from, num_reqs, uint8_t{1});
  fill(batch.slot_mapping, batch.query_start_loc[from], num_tokens, int64_t{-1});
  if (batch.key_start_loc != nullptr)
    fill(batch.key_start_loc, from + 1, int64_t{num_reqs} + 1, batch.key_start_loc[from]);
  if (batch.page_table != nullptr) pad_table(batch, num_reqs);
  pagoda_batch padded = batch;
  padded.num_reqs = num_reqs;
  padded.num_tokens = num_tokens;
  return padded;
}

}  // namespace pagoda

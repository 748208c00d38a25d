#include "step_arrays.h"

#include <algorithm>

#include "../core/error.h"
#include "../core/ids.h"

namespace pagoda {
namespace {

const PageRow& row_of(const Request& request, int32_t group) {
  return request.groups[static_cast<size_t>(group)].row;
}

// What is computed now is written now: to pages that are there, and that nobody else can have
// found.
void check_positions(const Request& request, const Group& group, int32_t g, int32_t first,
                     int32_t count) {
  expect(first >= 0 && count >= 0, PAGODA_INVALID_ARGUMENT, "request ", request.id, ": ", count,
         " tokens from position ", first, " on; neither is below 0");
  expect(count <= request.capacity - first, PAGODA_INVALID_ARGUMENT, "request ", request.id,
         " has pages for ", request.capacity, " tokens; ", count, " from position ", first,
         " on need more (pagoda_cache_grow)");
  const int32_t published =
      request.groups[static_cast<size_t>(g)].num_published * group.layout.span();
  expect(count == 0 || first >= published, PAGODA_INVALID_ARGUMENT, "request ", request.id,
         " would write position ", first, " again, but other requests may share the first ",
         published, " tokens of group ", g);
}

struct Entry {
  int32_t first_token;  // of the step
  int32_t query_len;
  int32_t seq_len;
};

Entry entry_of(const pagoda_cache_step& step, int32_t r) {
  const int32_t begin = step.query_start_loc[r];
  return {begin, step.query_start_loc[r + 1] - begin, step.seq_lens[r]};
}

void check_entry(const CacheManager& cache, int32_t g, const pagoda_cache_step& step, int32_t r) {
  const auto [first_token, query_len, seq_len] = entry_of(step, r);
  expect(first_token >= 0 && query_len >= 0, PAGODA_INVALID_ARGUMENT, "query_start_loc[", r + 1,
         "] is ", step.query_start_loc[r + 1], " after ", first_token, "; it never falls");
  expect(seq_len >= query_len, PAGODA_INVALID_ARGUMENT, "seq_lens[", r, "] is ", seq_len,
         ", fewer than the ", query_len, " tokens that request computes");
  if (seq_len == 0) return;
  const Request& request = cache.request(step.ids[r]);
  const Group& group = cache.group(g);
  check_positions(request, group, g, seq_len - query_len, query_len);
  const int32_t columns = pages_of(group.layout, seq_len) * group.layout.kernel_pages;
  expect(step.page_table == nullptr || columns <= step.page_table_width, PAGODA_OUT_OF_LIMITS,
         "request ", request.id, " has ", seq_len, " tokens on ", columns,
         " pages, but the page table has ", step.page_table_width, " columns (page_table_width)");
}

void check_step(const CacheManager& cache, int32_t g, const pagoda_cache_step& step) {
  expect(step.query_start_loc[0] == 0, PAGODA_INVALID_ARGUMENT, "query_start_loc[0] is ",
         step.query_start_loc[0], "; it is 0");
  expect(step.page_table == nullptr ||
             (step.page_table_width >= 0 && step.page_table_stride >= step.page_table_width),
         PAGODA_INVALID_ARGUMENT, "page_table_stride is ", step.page_table_stride,
         "; it is at least page_table_width, ", step.page_table_width);
  for (int32_t r = 0; r < step.num_reqs; ++r) check_entry(cache, g, step, r);
  const int32_t used = step.query_start_loc[step.num_reqs];
  expect(used <= step.num_tokens, PAGODA_INVALID_ARGUMENT, "query_start_loc[", step.num_reqs,
         "] is ", used, ", but slot_mapping has ", step.num_tokens, " entries (num_tokens)");
}

}  // namespace

void fill_step(const CacheManager& cache, int32_t g, const pagoda_cache_step& step) {
  const PageLayout& layout = cache.group(g).layout;
  check_step(cache, g, step);
  for (int32_t r = 0; r < step.num_reqs; ++r) {
    const auto [first_token, query_len, seq_len] = entry_of(step, r);
    int32_t* table_row =
        step.page_table == nullptr ? nullptr : step.page_table + r * step.page_table_stride;
    if (seq_len == 0) {
      if (table_row != nullptr)
        std::fill_n(table_row, step.page_table_width, static_cast<int32_t>(kNullPage.value));
      continue;
    }
    const auto row = row_of(cache.request(step.ids[r]), g)
                         .pages()
                         .first(static_cast<size_t>(pages_of(layout, seq_len)));
    if (table_row != nullptr)
      write_columns(layout, row, 0, {table_row, static_cast<size_t>(num_columns(layout, row))});
    if (step.slot_mapping != nullptr)
      write_slots(layout, row, seq_len - query_len,
                  {step.slot_mapping + first_token, static_cast<size_t>(query_len)});
  }
  if (step.slot_mapping != nullptr)
    std::fill(step.slot_mapping + step.query_start_loc[step.num_reqs],
              step.slot_mapping + step.num_tokens, kPadSlot.value);
}

void fill_slots(const CacheManager& cache, int32_t g, uint64_t id, int32_t first_position,
                std::span<int64_t> slots) {
  const Group& group = cache.group(g);
  const Request& request = cache.request(id);
  check_positions(request, group, g, first_position, static_cast<int32_t>(slots.size()));
  write_slots(group.layout, row_of(request, g).pages(), first_position, slots);
}

}  // namespace pagoda

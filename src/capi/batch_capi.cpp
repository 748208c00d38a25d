// batch.h in terms of src/batch.
#include <pagoda/batch.h>

#include <cstddef>
#include <vector>

#include "../batch/chunked.h"
#include "../batch/cross.h"
#include "../batch/order.h"
#include "../batch/sharing.h"
#include "../batch/split.h"
#include "../batch/sub_batch.h"
#include "guard.h"

using namespace pagoda;
using namespace pagoda::capi;

namespace {

void expect_array(const void* array, const char* name, int64_t size) {
  expect(array != nullptr || size == 0, PAGODA_INVALID_ARGUMENT, name, " is NULL");
}

pagoda_step_requests read_requests(const pagoda_step_requests* given) {
  const pagoda_step_requests requests = read_struct(given, "pagoda_step_requests");
  expect(requests.num_reqs >= 0, PAGODA_INVALID_ARGUMENT, "requests.num_reqs is ",
         requests.num_reqs, "; it is at least 0");
  expect_array(requests.query_lens, "requests.query_lens", requests.num_reqs);
  expect_array(requests.num_computed, "requests.num_computed", requests.num_reqs);
  expect_array(requests.num_prompt, "requests.num_prompt", requests.num_reqs);
  return requests;
}

pagoda_chunked_batch read_chunked(const pagoda_chunked_batch* given) {
  const pagoda_chunked_batch chunked = read_struct(given, "pagoda_chunked_batch");
  expect_array(chunked.query_start_loc, "chunked.query_start_loc", 1);
  expect_array(chunked.seq_lens, "chunked.seq_lens", chunked.capacity);
  expect_array(chunked.request, "chunked.request", chunked.capacity);
  expect_array(chunked.first_page, "chunked.first_page", chunked.capacity);
  return chunked;
}

}  // namespace

pagoda_status pagoda_decode_threshold(const pagoda_threshold_options* options, int32_t* threshold) {
  return guard([&] {
    expect_array(threshold, "threshold", 1);
    *threshold = decode_threshold(read_struct(options, "pagoda_threshold_options"));
  });
}

pagoda_status pagoda_classify_requests(const pagoda_step_requests* given, int32_t threshold,
                                       pagoda_request_kind* kinds) {
  return guard([&] {
    const pagoda_step_requests requests = read_requests(given);
    expect_array(kinds, "kinds", requests.num_reqs);
    std::vector<pagoda_request_kind> found(static_cast<size_t>(requests.num_reqs));
    for (int32_t r = 0; r < requests.num_reqs; ++r)
      found[static_cast<size_t>(r)] = kind_of(requests, r, threshold);
    std::copy(found.begin(), found.end(), kinds);
  });
}

pagoda_status pagoda_order_batch(const pagoda_step_requests* given, int32_t threshold,
                                 int32_t* order, int32_t* changed) {
  return guard([&] {
    const pagoda_step_requests requests = read_requests(given);
    expect_array(order, "order", requests.num_reqs);
    const bool moved = order_batch(requests, threshold, order);
    if (changed != nullptr) *changed = moved ? 1 : 0;
  });
}

pagoda_status pagoda_apply_order(const int32_t* order, int32_t num_reqs, void* rows,
                                 size_t row_size, size_t stride) {
  return guard([&] {
    expect(num_reqs >= 0, PAGODA_INVALID_ARGUMENT, "num_reqs is ", num_reqs, "; it is at least 0");
    expect_array(order, "order", num_reqs);
    expect_array(rows, "rows", num_reqs);
    apply_order(order, num_reqs, static_cast<std::byte*>(rows), row_size, stride);
  });
}

pagoda_status pagoda_split_decodes(const int32_t* query_start_loc, int32_t num_reqs,
                                   int32_t num_tokens, const pagoda_split_options* given,
                                   pagoda_split* out) {
  return guard([&] {
    pagoda_split_options options{};
    if (given != nullptr) options = read_struct(given, "pagoda_split_options");
    expect(options.threshold >= 0, PAGODA_INVALID_ARGUMENT, "options.threshold is ",
           options.threshold, "; it is at least 1, or 0 for that");
    expect(options.short_extends_are_prefills == 0 || options.prefilling != nullptr,
           PAGODA_INVALID_ARGUMENT,
           "options.prefilling is NULL, but options.short_extends_are_prefills needs it");
    read_struct(out, "pagoda_split");
    const SplitInput input{query_start_loc, num_reqs, num_tokens};
    check_split_input(input);
    write_struct(out, split_decodes(input, options), "pagoda_split");
  });
}

pagoda_status pagoda_split_extends(const int32_t* query_start_loc, const int32_t* seq_lens,
                                   int32_t num_reqs, int32_t num_tokens, int32_t threshold,
                                   pagoda_split* out) {
  return guard([&] {
    expect(threshold >= 1, PAGODA_INVALID_ARGUMENT, "threshold is ", threshold,
           "; it is at least 1");
    expect_array(seq_lens, "seq_lens", num_reqs);
    read_struct(out, "pagoda_split");
    const SplitInput input{query_start_loc, num_reqs, num_tokens};
    check_split_input(input);
    write_struct(out, split_extends(input, seq_lens, threshold), "pagoda_split");
  });
}

pagoda_status pagoda_sub_batch(const pagoda_batch* batch, int32_t first, int32_t count,
                               int32_t* query_start_loc, pagoda_batch* out, int32_t* first_token) {
  return guard([&] {
    const pagoda_batch own = read_struct(batch, "pagoda_batch");
    read_struct(out, "pagoda_batch");
    const SubBatch sub = sub_batch(own, first, count, query_start_loc);
    write_struct(out, sub.batch, "pagoda_batch");
    if (first_token != nullptr) *first_token = sub.first_token;
  });
}

pagoda_status pagoda_last_queries(const pagoda_batch* batch, const int32_t* tokens,
                                  int32_t num_tokens, int32_t* query_start_loc, pagoda_batch* out) {
  return guard([&] {
    expect(num_tokens >= 0, PAGODA_INVALID_ARGUMENT, "num_tokens is ", num_tokens,
           "; it is at least 0");
    expect_array(tokens, "tokens", num_tokens);
    expect_array(query_start_loc, "query_start_loc", 1);
    const pagoda_batch own = read_struct(batch, "pagoda_batch");
    read_struct(out, "pagoda_batch");
    write_struct(out, last_queries(own, tokens, num_tokens, query_start_loc), "pagoda_batch");
  });
}

pagoda_status pagoda_pad_batch(pagoda_batch* batch, int32_t num_reqs, int32_t num_tokens) {
  return guard([&] {
    write_struct(batch, pad_batch(read_struct(batch, "pagoda_batch"), num_reqs, num_tokens),
                 "pagoda_batch");
  });
}

pagoda_status pagoda_chunked_capacity(const pagoda_batch* batch, int32_t chunk, int32_t* capacity) {
  return guard([&] {
    expect_array(capacity, "capacity", 1);
    const int64_t count = count_chunks(read_struct(batch, "pagoda_batch"), chunk);
    expect(count <= INT32_MAX, PAGODA_OUT_OF_LIMITS, "the batch would become ", count,
           " virtual requests; split it, or take longer chunks");
    *capacity = static_cast<int32_t>(count);
  });
}

pagoda_status pagoda_make_chunked(const pagoda_batch* batch, int32_t chunk, int32_t page_size,
                                  pagoda_chunked_batch* given) {
  return guard([&] {
    pagoda_chunked_batch chunked = read_chunked(given);
    make_chunked(read_struct(batch, "pagoda_batch"), chunk, page_size, chunked);
    write_struct(given, chunked, "pagoda_chunked_batch");
  });
}

pagoda_status pagoda_chunked_table(const pagoda_chunked_batch* given, const pagoda_batch* batch,
                                   int32_t chunk, int32_t page_size, int32_t* page_table) {
  return guard([&] {
    const pagoda_chunked_batch chunked = read_chunked(given);
    expect_array(page_table, "page_table", chunked.num_reqs);
    chunked_table(chunked, read_struct(batch, "pagoda_batch"), pages_per_chunk(chunk, page_size),
                  page_table);
  });
}

pagoda_status pagoda_make_cross(pagoda_cross_batch* given) {
  return guard([&] {
    pagoda_cross_batch cross = read_struct(given, "pagoda_cross_batch");
    expect_array(cross.encoder_lens, "cross.encoder_lens", cross.num_reqs);
    expect_array(cross.num_computed, "cross.num_computed", cross.num_reqs);
    expect_array(cross.page_table, "cross.page_table", cross.num_reqs);
    expect_array(cross.key_start_loc, "cross.key_start_loc", 1);
    expect_array(cross.slot_mapping, "cross.slot_mapping", cross.slot_capacity);
    make_cross(cross);
    write_struct(given, cross, "pagoda_cross_batch");
  });
}

pagoda_status pagoda_check_sharing(const pagoda_shared_layer* given, int32_t num_layers,
                                   int32_t* cache) {
  return guard([&] {
    expect(num_layers >= 0, PAGODA_INVALID_ARGUMENT, "num_layers is ", num_layers,
           "; it is at least 0");
    expect_array(given, "layers", num_layers);
    std::vector<pagoda_shared_layer> layers;
    const auto* at = reinterpret_cast<const std::byte*>(given);
    for (int32_t i = 0; i < num_layers; ++i, at += given->struct_size)
      layers.push_back(
          read_struct(reinterpret_cast<const pagoda_shared_layer*>(at), "pagoda_shared_layer"));
    const std::vector<int32_t> found = check_sharing(layers);
    if (cache != nullptr) std::copy(found.begin(), found.end(), cache);
  });
}

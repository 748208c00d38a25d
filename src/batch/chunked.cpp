#include "chunked.h"

#include <algorithm>

#include "../core/error.h"
#include "sub_batch.h"

namespace pagoda {
namespace {

// Positions [begin, end) of a request's queries that lie in one chunk.
struct Piece {
  int32_t request, begin, end;
};

// Calls visit(piece) for every virtual request, in the order of the query tokens. A request without
// queries stays one of padding, so that real and virtual requests come in the same order.
template <class Visit>
void for_each_piece(const pagoda_batch& batch, int32_t chunk, const Visit& visit) {
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    const int32_t end = batch.seq_lens[r];
    const int32_t query_len = batch.query_start_loc[r + 1] - batch.query_start_loc[r];
    expect(query_len <= end, PAGODA_INVALID_ARGUMENT, "request ", r, " has ", query_len,
           " query tokens, but seq_lens[", r, "] is ", end,
           "; a request's queries are the last tokens of its sequence");
    if (query_len == 0) visit(Piece{r, 0, 0});
    for (int32_t begin = end - query_len; begin < end;) {
      const int64_t chunk_end = (int64_t{begin} / chunk + 1) * chunk;
      const auto stop = static_cast<int32_t>(std::min<int64_t>(end, chunk_end));
      visit(Piece{r, begin, stop});
      begin = stop;
    }
  }
}

}  // namespace

int32_t pages_per_chunk(int32_t chunk, int32_t page_size) {
  expect(page_size > 0 && chunk > 0 && chunk % page_size == 0, PAGODA_INVALID_ARGUMENT,
         "a chunk of ", chunk, " tokens; it is a positive multiple of page_size, ", page_size);
  return chunk / page_size;
}

int64_t count_chunks(const pagoda_batch& batch, int32_t chunk) {
  check_host_batch(batch);
  expect(chunk > 0, PAGODA_INVALID_ARGUMENT, "chunk is ", chunk, "; it is at least 1");
  int64_t count = 0;
  for_each_piece(batch, chunk, [&](const Piece&) { ++count; });
  return count;
}

void make_chunked(const pagoda_batch& batch, int32_t chunk, int32_t page_size,
                  pagoda_chunked_batch& chunked) {
  const int32_t pages = pages_per_chunk(chunk, page_size);
  const int64_t needed = count_chunks(batch, chunk);
  expect(needed <= chunked.capacity, PAGODA_OUT_OF_LIMITS, "chunked.capacity is ", chunked.capacity,
         "; this batch becomes ", needed, " virtual requests (pagoda_chunked_capacity)");
  chunked.num_reqs = chunked.max_query_len = chunked.max_seq_len = 0;
  chunked.query_start_loc[0] = 0;
  for_each_piece(batch, chunk, [&](const Piece& piece) {
    const int32_t i = chunked.num_reqs++;
    const int32_t first_key = piece.begin / chunk * chunk;
    chunked.query_start_loc[i + 1] = chunked.query_start_loc[i] + piece.end - piece.begin;
    chunked.seq_lens[i] = piece.end - first_key;
    chunked.request[i] = piece.request;
    chunked.first_page[i] = piece.begin / chunk * pages;
    chunked.max_query_len = std::max(chunked.max_query_len, piece.end - piece.begin);
    chunked.max_seq_len = std::max(chunked.max_seq_len, chunked.seq_lens[i]);
  });
}

void chunked_table(const pagoda_chunked_batch& chunked, const pagoda_batch& batch,
                   int32_t pages_per_chunk, int32_t* page_table) {
  check_host_batch(batch);
  expect(batch.page_table != nullptr && batch.page_table_width > 0, PAGODA_INVALID_ARGUMENT,
         "batch.page_table is NULL or has no columns; virtual requests take their pages from it");
  const int64_t last = batch.page_table_width - 1;
  for (int32_t i = 0; i < chunked.num_reqs; ++i) {
    const int32_t r = chunked.request[i];
    expect(r >= 0 && r < batch.num_reqs, PAGODA_INVALID_ARGUMENT, "chunked.request[", i, "] is ", r,
           "; the batch has ", batch.num_reqs, " requests");
    const int32_t* const row = batch.page_table + r * batch.page_table_stride;
    for (int32_t page = 0; page < pages_per_chunk; ++page)
      *page_table++ = row[std::min<int64_t>(int64_t{chunked.first_page[i]} + page, last)];
  }
}

}  // namespace pagoda

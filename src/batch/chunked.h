// Chunked local attention as virtual requests: one for each chunk that a request's queries touch.
#pragma once

#include <pagoda/batch.h>

#include <cstdint>

namespace pagoda {

// How many virtual requests the batch becomes. Errors: those of check_host_batch; chunk below 1.
int64_t count_chunks(const pagoda_batch& batch, int32_t chunk);

// Fills the arrays and numbers of `chunked`. Errors: too little capacity; a chunk that pages do not
// fill; a request with fewer keys than queries.
void make_chunked(const pagoda_batch& batch, int32_t chunk, int32_t page_size,
                  pagoda_chunked_batch& chunked);

// page_table: [chunked.num_reqs, pages_per_chunk] out
void chunked_table(const pagoda_chunked_batch& chunked, const pagoda_batch& batch,
                   int32_t pages_per_chunk, int32_t* page_table);

// Errors: chunk is no positive multiple of page_size.
int32_t pages_per_chunk(int32_t chunk, int32_t page_size);

}  // namespace pagoda

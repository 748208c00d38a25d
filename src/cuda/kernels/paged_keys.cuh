// Device only. From (request, key) to an address. A page holds a multiple of eight tokens, so eight
// keys whose first is a multiple of eight lie in one page, evenly spaced: that is the unit in which
// the kernels look pages up. Without a page table all keys lie in page 0, behind each other.
#pragma once

#include <cstdint>

#include "../attend_params.h"

namespace pagoda::cuda {

inline constexpr int kKeysPerLookup = 8;

struct PagedKeys {
  const int32_t* pages;  // the request's row of the page table, or null
  int32_t first_row;     // of the call's key and value, where pages is null
  int32_t page_size;

  __device__ PagedKeys(const AttendParams& params, int req)
      : pages(params.page_table ? params.page_table + req * params.page_table_stride : nullptr),
        first_row(params.page_table ? 0 : params.key_start_loc[req]),
        page_size(params.page_size) {}

  // Where keys [first, first + 8) lie; to be asked only for keys that the request has.
  __device__ int32_t page_of(int first) const {
    return pages ? __ldg(pages + first / page_size) : 0;
  }
  // The same past the first-level cache, where a line may be left from before the schedule.
  __device__ int32_t page_of_now(int first) const {
    return pages ? __ldcg(pages + first / page_size) : 0;
  }
  __device__ int32_t row_of(int first) const {
    return pages ? first % page_size : first_row + first;
  }
};

}  // namespace pagoda::cuda

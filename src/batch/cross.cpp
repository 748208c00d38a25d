#include "cross.h"

#include <algorithm>
#include <cstdint>

#include "../core/error.h"

namespace pagoda {
namespace {

void check_request(const pagoda_cross_batch& cross, int32_t r) {
  const int32_t len = cross.encoder_lens[r];
  expect(len >= 0, PAGODA_INVALID_ARGUMENT, "encoder_lens[", r, "] is ", len,
         "; a length is at least 0");
  const int64_t pages = (int64_t{len} + cross.page_size - 1) / cross.page_size;
  expect(pages <= cross.page_table_width, PAGODA_INVALID_ARGUMENT, "encoder_lens[", r, "] is ", len,
         ", on ", pages, " pages; the page table has ", cross.page_table_width,
         " columns (page_table_width)");
}

int64_t count_keys(const pagoda_cross_batch& cross) {
  int64_t count = 0;
  for (int32_t r = 0; r < cross.num_reqs; ++r) {
    check_request(cross, r);
    if (cross.num_computed[r] == 0) count += cross.encoder_lens[r];
  }
  return count;
}

}  // namespace

void make_cross(pagoda_cross_batch& cross) {
  expect(cross.num_reqs >= 0 && cross.page_size > 0, PAGODA_INVALID_ARGUMENT, "num_reqs is ",
         cross.num_reqs, " and page_size ", cross.page_size, "; they are at least 0 and 1");
  const int64_t num_keys = count_keys(cross);
  expect(num_keys <= cross.slot_capacity, PAGODA_OUT_OF_LIMITS, "slot_capacity is ",
         cross.slot_capacity, "; the encoders of this step have ", num_keys, " keys to write");
  cross.num_keys = cross.max_encoder_len = 0;
  cross.key_start_loc[0] = 0;
  for (int32_t r = 0; r < cross.num_reqs; ++r) {
    const int32_t len = cross.encoder_lens[r];
    cross.max_encoder_len = std::max(cross.max_encoder_len, len);
    const int32_t* const row = cross.page_table + r * cross.page_table_stride;
    for (int32_t j = 0; j < len && cross.num_computed[r] == 0; ++j)
      cross.slot_mapping[cross.num_keys++] =
          int64_t{row[j / cross.page_size]} * cross.page_size + j % cross.page_size;
    cross.key_start_loc[r + 1] = cross.num_keys;
  }
}

}  // namespace pagoda

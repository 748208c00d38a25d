// The arrays of a block mask, where they lie in host memory: nothing in them may lead a kernel
// outside of them, nor make it walk a list backwards.
#include "../core/error.h"
#include "check_batch.h"

namespace pagoda {
namespace {

void check_tiles(const mask::BlockMask& mask, const Batch& batch) {
  expect(mask.tile_start[0] == 0, PAGODA_INVALID_ARGUMENT, "block_mask.tile_start[0] is ",
         mask.tile_start[0], "; it is 0");
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    const int64_t len = int64_t{batch.query_start_loc[r + 1]} - batch.query_start_loc[r];
    const int64_t tiles = (len + mask.tile_q - 1) / mask.tile_q;
    expect(int64_t{mask.tile_start[r + 1]} - mask.tile_start[r] == tiles, PAGODA_INVALID_ARGUMENT,
           "block_mask.tile_start gives request ", r, " ",
           int64_t{mask.tile_start[r + 1]} - mask.tile_start[r], " tiles; its ", len,
           " query tokens are ", tiles, " tiles of ", mask.tile_q);
  }
  expect(mask.tile_start[batch.num_reqs] == mask.num_tiles_q, PAGODA_INVALID_ARGUMENT,
         "block_mask.num_tiles_q is ", mask.num_tiles_q, ", but the requests have ",
         mask.tile_start[batch.num_reqs]);
}

void check_list(const mask::BlockMask& mask, int64_t list, int64_t num_queries) {
  const int64_t begin = mask.row_start[list], end = mask.row_start[list + 1];
  expect(begin >= 0 && end >= begin && end <= mask.num_entries, PAGODA_INVALID_ARGUMENT,
         "block_mask.row_start[", list, "] is ", begin, " and the next ", end,
         "; they never fall and end at num_entries, ", mask.num_entries);
  const int64_t words = num_queries * (mask.tile_kv / 32);
  int32_t before = -1;
  bool bad = false;  // one test for all entries; which one is bad is only asked if one is
  for (int64_t i = begin; i < end; ++i) {
    bad |= mask.tile[i] <= before || mask.bits_at[i] < -1 ||
           (mask.bits_at[i] >= 0 && mask.bits_at[i] + words > mask.num_words);
    before = mask.tile[i];
  }
  expect(!bad, PAGODA_INVALID_ARGUMENT, "block_mask list ", list,
         " has tiles that do not rise from 0 on, or bits outside its ", mask.num_words, " words");
}

}  // namespace

void check_block_mask_on_host(const Batch& batch) {
  const mask::BlockMask& mask = batch.block_mask;
  check_tiles(mask, batch);
  for (int32_t head = 0; head < mask.num_heads; ++head)
    for (int32_t r = 0; r < batch.num_reqs; ++r) {
      const int64_t len = int64_t{batch.query_start_loc[r + 1]} - batch.query_start_loc[r];
      const int64_t tiles = int64_t{mask.tile_start[r + 1]} - mask.tile_start[r];
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t left = len - tile * mask.tile_q;
        check_list(mask, mask.list_of(r, tile, head), left < mask.tile_q ? left : mask.tile_q);
      }
    }
}

}  // namespace pagoda

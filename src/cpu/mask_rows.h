// From a block mask to what the rows of one item read of it: which lists, and which keys those have
// at all. A row is a query token and a head of a group, the group innermost.
#pragma once

#include "../core/mask.h"
#include "../mask/block_mask.h"
#include "scratch.h"

namespace pagoda::cpu {

// Rows of one request that are attended together.
struct MaskedRows {
  const mask::BlockMask& mask;
  int32_t request;
  int32_t group, num_kv_heads;
  int64_t first_row;
  int32_t num_rows;

  int64_t first_tile() const { return first_row / group / mask.tile_q; }
  int64_t end_tile() const { return (first_row + num_rows - 1) / group / mask.tile_q + 1; }
  // Heads of the mask that the rows of one key head read.
  int32_t heads_of_group() const {
    return mask.num_heads == int64_t{num_kv_heads} * group ? group : 1;
  }
  int32_t mask_head(int32_t kv_head, int32_t i) const {
    return mask.num_heads == 1 ? 0 : kv_head * heads_of_group() + i;
  }
};

// The lists of the rows under one key head, in the thread's scratch.
MaskLists lists_of(const MaskedRows& rows, const Scratch& scratch);

// Puts the lists before the first key of [begin, end), which they then hold alone. False: none of
// them shows a key of it.
bool narrow(const MaskedRows& rows, int32_t kv_head, int32_t begin, int32_t end,
            const MaskLists& lists);

// The first and the last key that a list of any head shows, and how many query-key pairs one head
// has to look at on average.
struct ListedWork {
  KeyRange keys;
  int64_t pairs;
  int64_t num_keys;  // that have to be packed
};
ListedWork listed_work(const MaskedRows& rows, KeyRange within);

}  // namespace pagoda::cpu

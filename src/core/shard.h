// Host and device. Context parallelism: which tokens of a sequence a rank keeps, and where.
//
// Tokens are dealt out in runs of `interleave`: the token at position p lies on rank
// (p / interleave) % num_ranks. A rank keeps its tokens in order, so that the positions of its keys
// grow with their index and a range of positions is a range of its keys.
#pragma once

#include <cstdint>

#include "hd.h"
#include "mask.h"

namespace pagoda {

struct Shard {
  int32_t rank = 0;
  int32_t num_ranks = 1;
  int32_t interleave = 1;
  constexpr bool operator==(const Shard&) const = default;
  PAGODA_HD constexpr bool is_whole() const { return num_ranks == 1; }
};

// How many of the first `len` tokens the rank keeps.
PAGODA_HD constexpr int32_t local_len(const Shard& shard, int32_t len) {
  if (shard.is_whole()) return len;
  const int64_t round = int64_t{shard.interleave} * shard.num_ranks;
  const int64_t full = len / round, rest = len % round;
  int64_t own = rest - int64_t{shard.rank} * shard.interleave;
  if (own < 0) own = 0;
  if (own > shard.interleave) own = shard.interleave;
  return static_cast<int32_t>(full * shard.interleave + own);
}

// The position in the sequence of the rank's token number `local`.
PAGODA_HD constexpr int32_t position_of(const Shard& shard, int32_t local) {
  if (shard.is_whole()) return local;
  const int64_t round = local / shard.interleave, within = local % shard.interleave;
  return static_cast<int32_t>((round * shard.num_ranks + shard.rank) * int64_t{shard.interleave} +
                              within);
}

PAGODA_HD constexpr bool keeps(const Shard& shard, int32_t position) {
  return position / shard.interleave % shard.num_ranks == shard.rank;
}

// The rank's tokens among those at `positions`.
PAGODA_HD constexpr KeyRange local_range(const Shard& shard, KeyRange positions) {
  return {local_len(shard, positions.begin), local_len(shard, positions.end)};
}

}  // namespace pagoda

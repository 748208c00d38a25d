// Host and device. Where the keys of a request are cut so that several workers can share them.
//
// The cuts are a function of the request's length alone: not of the batch, the number of threads or
// multiprocessors, nor of who works on what. Each split is attended from an empty state, and split
// states merge in index order, so a request gets the same bits whatever stands beside it.
#pragma once

#include <cstdint>

#include "hd.h"

namespace pagoda {

struct SplitRule {
  int32_t unit = 64;        // cuts lie at multiples of this many keys
  int32_t automatic = 512;  // keys per split when num_splits is 0; a multiple of unit
  int32_t num_splits = 0;   // forced; 0: automatic
};

// Keys per split: a positive multiple of the unit.
PAGODA_HD constexpr int64_t split_len(const SplitRule& rule, int32_t seq_len) {
  if (rule.num_splits == 0) return rule.automatic;
  const int64_t share = (static_cast<int64_t>(seq_len) + rule.num_splits - 1) / rule.num_splits;
  const int64_t units = (share + rule.unit - 1) / rule.unit;
  return (units > 0 ? units : 1) * rule.unit;
}

// Never more than num_splits where that is forced; 0 for a request without keys.
PAGODA_HD constexpr int32_t split_count(const SplitRule& rule, int32_t seq_len) {
  const int64_t len = split_len(rule, seq_len);
  return static_cast<int32_t>((static_cast<int64_t>(seq_len) + len - 1) / len);
}

// The rule for one length with at most `most` splits, which are longer for that.
PAGODA_HD constexpr SplitRule with_at_most(const SplitRule& rule, int32_t most, int32_t seq_len) {
  SplitRule bounded = rule;
  if (split_count(rule, seq_len) > most) bounded.num_splits = most;
  return bounded;
}

// A split is cut once more, into at most kLeaves leaves of this many keys (the last may have
// fewer), so that either one worker or kLeaves of them can attend it. Leaves are attended from an
// empty state and merge in index order into their split, whoever did them.
inline constexpr int32_t kLeaves = 4;
inline constexpr int64_t kLeastLeafKeys = 128;  // unless the split has fewer
PAGODA_HD constexpr int64_t leaf_len(const SplitRule& rule, int64_t split_len) {
  const int64_t share = (split_len + kLeaves - 1) / kLeaves;
  const int64_t len = (share + rule.unit - 1) / rule.unit * rule.unit;
  return len < kLeastLeafKeys ? kLeastLeafKeys : len;
}

}  // namespace pagoda

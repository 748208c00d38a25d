// Host and device. Which keys a query sees: the one definition, used by the reference, the CPU and
// the CUDA kernels, the planner and the tests.
//
// Positions are counted within the sequence. The queries of a request are its last query_len
// tokens, so query i stands at seq_len - query_len + i, which is negative for the first queries of
// a request that has more queries than keys. Such a query sees nothing under a causal mask.
#pragma once

#include <cstdint>

#include "hd.h"

namespace pagoda {

struct Mask {
  bool causal = true;
  int32_t window_left = -1;   // -1: unlimited
  int32_t window_right = -1;  // -1: unlimited; without effect if causal
  constexpr bool operator==(const Mask&) const = default;
};

struct KeyRange {
  int32_t begin, end;  // empty if end <= begin
  constexpr bool operator==(const KeyRange&) const = default;
  PAGODA_HD constexpr bool empty() const { return end <= begin; }
};

// The mask of a request that carries its own causal flag. A window that a causal mask cuts off
// ahead becomes symmetric where the request is not causal.
PAGODA_HD constexpr Mask mask_of_request(const Mask& mask, bool request_is_causal) {
  Mask own = mask;
  own.causal = request_is_causal;
  if (mask.causal && !request_is_causal) own.window_right = mask.window_left;
  return own;
}

// The keys that the query at `position` sees. 64-bit sums: a window may be as large as INT32_MAX.
PAGODA_HD constexpr KeyRange visible_keys(const Mask& mask, int32_t position, int32_t seq_len) {
  const int64_t p = position;
  int64_t begin = mask.window_left >= 0 ? p - mask.window_left : 0;
  const int32_t ahead = mask.causal ? 0 : mask.window_right;
  int64_t end = ahead >= 0 ? p + ahead + 1 : seq_len;
  if (begin < 0) begin = 0;
  if (begin > seq_len) begin = seq_len;
  if (end > seq_len) end = seq_len;
  if (end < begin) end = begin;
  return {static_cast<int32_t>(begin), static_cast<int32_t>(end)};
}

// The keys that some query in [first, last] sees, and those that all of them see: a kernel loads
// the first and masks only outside the second. The first is a hull: bounds grow with the position.
PAGODA_HD constexpr KeyRange any_visible(const Mask& mask, int32_t first, int32_t last,
                                         int32_t seq_len) {
  return {visible_keys(mask, first, seq_len).begin, visible_keys(mask, last, seq_len).end};
}
PAGODA_HD constexpr KeyRange all_visible(const Mask& mask, int32_t first, int32_t last,
                                         int32_t seq_len) {
  return {visible_keys(mask, last, seq_len).begin, visible_keys(mask, first, seq_len).end};
}

}  // namespace pagoda

// Host and device. Distinct 64-bit numbers for what addresses the cache. `page * stride` in 32 bits
// overflows on caches that fit one GPU, so these types make the width part of the interface.
#pragma once

#include <cstdint>

#include "hd.h"

namespace pagoda {

struct PageId {
  int64_t value;
  constexpr bool operator==(const PageId&) const = default;
};

// Where one token's keys and values lie: page * page_size + offset. Below zero: nowhere.
struct Slot {
  int64_t value;
  constexpr bool operator==(const Slot&) const = default;
};

// Page 0 is never allocated: it fills the unused entries of page tables, so reading it must be
// safe and its content must never matter.
inline constexpr PageId kNullPage{0};
inline constexpr Slot kPadSlot{-1};

PAGODA_HD constexpr Slot slot_of(PageId page, int32_t offset, int32_t page_size) {
  return {page.value * page_size + offset};
}
PAGODA_HD constexpr PageId page_of(Slot slot, int32_t page_size) {
  return {slot.value / page_size};
}
PAGODA_HD constexpr int32_t offset_of(Slot slot, int32_t page_size) {
  return static_cast<int32_t>(slot.value % page_size);
}

}  // namespace pagoda

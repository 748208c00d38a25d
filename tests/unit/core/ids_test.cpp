// Pages and slots are 64 bits wide from end to end.
#include "src/core/ids.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

TEST(Ids, SlotAndBackForPagesBeyond32Bits) {
  for (int64_t page : {int64_t{0}, int64_t{1}, int64_t{1} << 31, (int64_t{1} << 40) + 3})
    for (int32_t page_size : {8, 16, 4096})
      for (int32_t offset : {0, 1, page_size - 1}) {
        const Slot slot = slot_of(PageId{page}, offset, page_size);
        EXPECT_EQ(slot.value, page * page_size + offset);
        EXPECT_EQ(page_of(slot, page_size), PageId{page});
        EXPECT_EQ(offset_of(slot, page_size), offset);
      }
}

}  // namespace
}  // namespace pagoda

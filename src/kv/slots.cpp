#include "slots.h"

#include <algorithm>
#include <numeric>

#include "../core/ids.h"

namespace pagoda {
namespace {

// Token `offset` of the span of a page; the arithmetic of decode context parallelism: the tokens
// go round the ranks in runs of `interleave`.
int64_t slot_on_rank(const PageLayout& layout, PageId page, int32_t offset) {
  const int32_t run = offset / layout.interleave;
  if (run % layout.num_ranks != layout.rank) return kPadSlot.value;
  const int32_t local = run / layout.num_ranks * layout.interleave + offset % layout.interleave;
  return slot_of(page, local, layout.page_size).value;
}

}  // namespace

int32_t pages_of(const PageLayout& layout, int32_t num_tokens) {
  // Unsigned, because the sum may pass 2^31; and 32 bits, because this runs per request and step.
  const auto span = static_cast<uint32_t>(layout.span());
  return static_cast<int32_t>((static_cast<uint32_t>(num_tokens) + span - 1) / span);
}

void write_slots(const PageLayout& layout, std::span<const int32_t> row, int32_t first_position,
                 std::span<int64_t> slots) {
  const int32_t span = layout.span();
  int32_t index = first_position / span;
  int32_t offset = first_position % span;
  for (size_t done = 0; done < slots.size(); ++index, offset = 0) {
    const PageId page{row[static_cast<size_t>(index)]};
    const size_t count = std::min(slots.size() - done, static_cast<size_t>(span - offset));
    if (layout.num_ranks == 1) {
      const auto begin = slots.begin() + static_cast<ptrdiff_t>(done);
      std::iota(begin, begin + static_cast<ptrdiff_t>(count),
                slot_of(page, offset, layout.page_size).value);
    } else {
      for (size_t i = 0; i < count; ++i)
        slots[done + i] = slot_on_rank(layout, page, offset + static_cast<int32_t>(i));
    }
    done += count;
  }
}

}  // namespace pagoda

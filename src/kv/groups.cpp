#include "groups.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "../core/error.h"

namespace pagoda {
namespace {

constexpr int64_t kMaxSpan = 1 << 24;  // tokens; keeps every product below in 32 bits

void check_layout(const PageLayout& layout, size_t g) {
  expect(layout.page_size >= 1 && layout.page_size <= kMaxSpan, PAGODA_INVALID_ARGUMENT, "groups[",
         g, "].page_size is ", layout.page_size, "; it is 1 to ", kMaxSpan);
  expect(layout.kernel_pages >= 1 && layout.page_size % layout.kernel_pages == 0,
         PAGODA_INVALID_ARGUMENT, "groups[", g, "].page_size is ", layout.page_size,
         ", which is not a multiple of its kernel_page_size");
  expect(layout.num_ranks >= 1 && layout.page_size * int64_t{layout.num_ranks} <= kMaxSpan,
         PAGODA_INVALID_ARGUMENT, "num_ranks is ", layout.num_ranks,
         "; it is at least 1, and num_ranks pages of groups[", g, "] hold at most ", kMaxSpan,
         " tokens");
  expect(layout.rank >= 0 && layout.rank < layout.num_ranks, PAGODA_INVALID_ARGUMENT, "rank is ",
         layout.rank, "; it is 0 to num_ranks - 1, ", layout.num_ranks - 1);
  expect(layout.interleave >= 1 && layout.page_size % layout.interleave == 0,
         PAGODA_INVALID_ARGUMENT, "interleave is ", layout.interleave,
         "; it is at least 1 and divides groups[", g, "].page_size, ", layout.page_size);
}

void check_group(const Group& group, size_t g, const std::vector<int64_t>& num_pages) {
  check_layout(group.layout, g);
  expect(group.window >= 0, PAGODA_INVALID_ARGUMENT, "groups[", g, "].window is ", group.window,
         "; it is 0 for none, or the number of tokens that a token sees, itself included");
  expect(!group.has_window() || group.layout.num_ranks == 1, PAGODA_UNSUPPORTED, "groups[", g,
         "] has a window, but its tokens are spread over ", group.layout.num_ranks,
         " ranks, where neighbours are not contiguous; use one rank for it");
  const auto pools = static_cast<int32_t>(num_pages.size());
  expect(group.pool >= 0 && group.pool < pools, PAGODA_INVALID_ARGUMENT, "groups[", g, "].pool is ",
         group.pool, "; there are ", pools, " pools");
  const int64_t pages = num_pages[static_cast<size_t>(group.pool)];
  expect(pages <= std::numeric_limits<int32_t>::max() / group.layout.kernel_pages,
         PAGODA_INVALID_ARGUMENT, "groups[", g, "] makes ", group.layout.kernel_pages,
         " kernel pages of each of ", pages, " pages; their ids do not fit 32 bits");
}

void check_page_bytes(const std::vector<Group>& groups) {
  for (size_t a = 0; a < groups.size(); ++a)
    for (size_t b = 0; b < a; ++b)
      expect(groups[a].pool != groups[b].pool || groups[a].page_bytes == groups[b].page_bytes,
             PAGODA_INVALID_ARGUMENT, "groups[", b, "] and groups[", a, "] draw from pool ",
             groups[a].pool, ", but their pages are ", groups[b].page_bytes, " and ",
             groups[a].page_bytes, " bytes; give each a pool of its own, or pages of one size");
}

}  // namespace

CacheShape make_shape(std::vector<Group> groups, std::vector<int64_t> num_pages) {
  CacheShape shape{.groups = std::move(groups), .num_pages = std::move(num_pages)};
  expect(!shape.groups.empty(), PAGODA_INVALID_ARGUMENT, "num_groups is 0; a cache has groups");
  for (size_t g = 0; g < shape.groups.size(); ++g) check_group(shape.groups[g], g, shape.num_pages);
  check_page_bytes(shape.groups);
  int64_t alignment = 1;
  for (Group& group : shape.groups) {
    const int32_t span = group.layout.span();
    auto& spans = shape.chain_spans;
    const auto found = std::find(spans.begin(), spans.end(), span);
    group.chain = static_cast<int32_t>(found - spans.begin());
    if (found == spans.end()) spans.push_back(span);
    alignment = std::lcm(alignment, span);
    expect(
        alignment <= std::numeric_limits<int32_t>::max(), PAGODA_INVALID_ARGUMENT,
        "the page sizes of the groups have no common multiple below 2^31, so that no prefix could "
        "ever be found in all of them");
  }
  shape.alignment = static_cast<int32_t>(alignment);
  return shape;
}

int32_t pages_out_of_window(const Group& group, int32_t num_computed) {
  if (!group.has_window()) return 0;
  return std::max(0, num_computed - group.window + 1) / group.layout.span();
}

int32_t pages_needed(const Group& group, int32_t end) {
  const int32_t all = pages_of(group.layout, end);
  return group.has_window() ? std::min(all, pages_of(group.layout, group.window - 1)) : all;
}

int64_t max_pages_held(const Group& group, int32_t num_tokens, int32_t max_ahead) {
  const int64_t all = pages_of(group.layout, num_tokens);
  if (!group.has_window()) return all;
  const int64_t span = group.layout.span();
  const int64_t reach = int64_t{group.window} - 1 + max_ahead;
  return std::min(all, (reach + span - 1) / span + 1);
}

}  // namespace pagoda

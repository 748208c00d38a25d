// Where the keys and values of a token lie: slot = page * page_size + offset. Also when the tokens
// of a page are spread over the ranks of a decode-context-parallel group, and when the kernel sees
// each page of the cache as several.
#pragma once

#include <cstdint>
#include <span>

namespace pagoda {

// How the tokens of a request lie on its pages.
struct PageLayout {
  int32_t page_size = 1;     // tokens per page on one rank
  int32_t kernel_pages = 1;  // pages of the kernel's table per page of the cache
  int32_t num_ranks = 1;
  int32_t rank = 0;
  int32_t interleave = 1;  // consecutive tokens on one rank; divides page_size

  // Tokens of the sequence that one entry of a row stands for.
  int32_t span() const { return page_size * num_ranks; }
  int32_t kernel_page_size() const { return page_size / kernel_pages; }
};

// The number of row entries that the first num_tokens tokens take. num_tokens: at least 0
int32_t pages_of(const PageLayout& layout, int32_t num_tokens);

// row: pages of the request, in order. slots: one for each position from first_position on; -1
// where the token lies on another rank. The row covers the positions.
//
// The size of kernel pages plays no part: page m is the kernel's pages m * k .. m * k + k - 1, and
// offset o of it lies on page m * k + o / (page_size / k) there, which is the same slot.
void write_slots(const PageLayout& layout, std::span<const int32_t> row, int32_t first_position,
                 std::span<int64_t> slots);

}  // namespace pagoda

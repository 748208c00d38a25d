// Draft tokens from the text itself (prompt lookup): what followed the last time these words stood.
#pragma once

#include <cstdint>
#include <span>

namespace pagoda::engine {

// The longest suffix of at most max_suffix tokens that occurred before is looked for, the latest
// place of it counts, and the up to max_draft tokens behind it are returned; none without one.
//   tokens  of prompt and output so far; the result borrows from them
std::span<const int32_t> ngram_draft(std::span<const int32_t> tokens, int32_t max_suffix,
                                     int32_t max_draft);

}  // namespace pagoda::engine

#include "engine/draft/ngram.h"

#include <algorithm>
#include <cstddef>

namespace pagoda::engine {

std::span<const int32_t> ngram_draft(std::span<const int32_t> tokens, int32_t max_suffix,
                                     int32_t max_draft) {
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t best_length = 0, best_end = 0;  // of the match: tokens before best_end
  for (int64_t end = size - 1; end > 0 && best_length < max_suffix; --end) {
    int64_t length = 0;
    while (length < max_suffix && length < end &&
           tokens[static_cast<size_t>(end - 1 - length)] ==
               tokens[static_cast<size_t>(size - 1 - length)])
      ++length;
    if (length > best_length) {
      best_length = length;
      best_end = end;
    }
  }
  if (best_length == 0) return {};
  const int64_t count = std::min<int64_t>(max_draft, size - best_end);
  return tokens.subspan(static_cast<size_t>(best_end), static_cast<size_t>(count));
}

}  // namespace pagoda::engine

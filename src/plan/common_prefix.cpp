#include "common_prefix.h"

#include <algorithm>

namespace pagoda {
namespace {

constexpr int64_t kTile = 128;
constexpr int64_t kMinPrefix = 256;
constexpr int32_t kMinReqs = 8;

constexpr int64_t ceil_div(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit;
}

}  // namespace

int64_t common_prefix_len(int64_t common_pages, int32_t page_size,
                          const int32_t* num_computed_tokens, int32_t num_reqs) {
  if (num_reqs <= 0) return 0;
  const int64_t computed = *std::min_element(num_computed_tokens, num_computed_tokens + num_reqs);
  const int64_t len = std::min(common_pages * page_size, computed);
  return std::max<int64_t>(len, 0) / page_size * page_size;
}

bool use_cascade_attention(const CommonPrefix& step) {
  if (step.prefix_len < kMinPrefix || step.num_reqs < kMinReqs) return false;
  if (step.has_alibi || step.has_window || step.is_chunked) return false;
  if (step.num_context_ranks > 1) return false;
  const int64_t group = step.num_heads / step.num_kv_heads;
  const bool decodes = std::all_of(step.query_lens, step.query_lens + step.num_reqs,
                                   [](int32_t len) { return len == 1; });
  if (group == 1 || !decodes) return true;

  const int64_t reqs = step.num_reqs, processors = step.num_multiprocessors;
  const int64_t key_tiles = ceil_div(step.prefix_len, kTile);
  const int64_t cascade_rounds = ceil_div(step.num_heads * ceil_div(reqs, kTile), processors);
  const int64_t flat_tiles = reqs * step.num_kv_heads * ceil_div(group, kTile) * key_tiles;
  return cascade_rounds * key_tiles < ceil_div(flat_tiles, processors);
}

}  // namespace pagoda

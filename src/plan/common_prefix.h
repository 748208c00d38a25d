// Rules for the plain form of cascade that other engines have, one prefix that all requests share:
// how long it may be, and when it pays on a GPU. By name, for who wants to decide like them; the
// planner here has rules of its own (cascade.h).
#pragma once

#include <cstdint>

namespace pagoda {

// Keys of `common_pages` shared pages that a pass without a mask may attend: no query may stand
// within them, so they end before the first new token of any request, at the end of a page.
// num_computed_tokens: [num_reqs] tokens of each request that were in the cache before this step
int64_t common_prefix_len(int64_t common_pages, int32_t page_size,
                          const int32_t* num_computed_tokens, int32_t num_reqs);

struct CommonPrefix {
  int64_t prefix_len = 0;               // keys
  const int32_t* query_lens = nullptr;  // [num_reqs]
  int32_t num_reqs = 0;
  int32_t num_heads = 1, num_kv_heads = 1;
  bool has_alibi = false, has_window = false, is_chunked = false;
  int32_t num_multiprocessors = 1;
  int32_t num_context_ranks = 1;
};

// The heuristic of vLLM's FlashAttention backend: rounds of thread blocks times tiles of keys, with
// tiles of 128 rows and 128 keys.
bool use_cascade_attention(const CommonPrefix& step);

}  // namespace pagoda

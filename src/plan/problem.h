// What a plan is made for: the caller's spec, limits and tuning, checked and with the defaults
// filled in. Everything behind the C interface speaks of a Problem and never of the caller's
// structs.
#pragma once

#include <cstdint>
#include <string>

#include "../core/dtype.h"
#include "../core/mask.h"
#include "../core/score.h"

namespace pagoda {

struct Limits {
  int32_t max_reqs = 0;
  int32_t max_tokens = 0;  // query tokens in one step, padding included
  int32_t max_query_len = 0;
  int32_t max_seq_len = 0;
  int64_t num_pages = 0;
};

struct Tuning {
  int32_t num_splits = 0;  // 0: automatic
  std::string kernel;      // empty: the first that serves
};

struct Problem {
  int32_t num_heads = 0, num_kv_heads = 0;
  int32_t head_dim = 0, head_dim_v = 0;
  Dtype dtype = PAGODA_F32;
  pagoda_kv_format kv_format = PAGODA_KV_SAME;
  int32_t page_size = 0;  // 0: no cache
  Score score;
  Mask mask;
  bool has_sinks = false;
  Limits limits;
  Tuning tuning;

  // Query heads that share a key head.
  int32_t group() const { return num_heads / num_kv_heads; }
  bool has_cache() const { return page_size > 0; }
};

// Checks the caller's structs and fills in the defaults; throws Failure with the field's name.
Problem make_problem(const pagoda_spec& spec, const pagoda_limits& limits,
                     const pagoda_tuning& tuning);

}  // namespace pagoda

// What a plan is made for: the caller's spec, limits and tuning, checked and with the defaults
// filled in. Everything behind the C interface speaks of a Problem and never of the caller's
// structs.
#pragma once

#include <cstdint>
#include <string>

#include "../core/dtype.h"
#include "../core/mask.h"
#include "../core/score.h"
#include "../core/shard.h"

namespace pagoda {

namespace mask {
struct BoundExpr;
}

struct Limits {
  int32_t max_reqs = 0;
  int32_t max_tokens = 0;  // query tokens in one step, padding included
  int32_t max_query_len = 0;
  int32_t max_seq_len = 0;
  int64_t num_pages = 0;
};

struct Tuning {
  int32_t num_splits = 0;  // 0: automatic
  int32_t cascade = 0;     // 0: where it pays, 1: wherever it is possible, -1: never
  std::string kernel;      // empty: the first that serves
};

struct Problem {
  int32_t num_heads = 0;  // that a step attends with: those of all ranks that gather their queries
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0, head_dim_v = 0;
  Dtype dtype = PAGODA_F32;
  pagoda_kv_format kv_format = PAGODA_KV_SAME;
  pagoda_query_format query_format = PAGODA_QUERY_SAME;
  int32_t page_size = 0;  // 0: no cache
  Score score;
  Mask mask;
  bool has_block_mask = false;                  // every step brings one
  const mask::BoundExpr* score_expr = nullptr;  // of the caller, after the score; or null
  bool has_sinks = false;
  Shard shard;              // whole: this rank keeps all keys
  int32_t query_ranks = 1;  // ranks whose queries are gathered
  Limits limits;
  Tuning tuning;

  // Query heads of this rank's caller.
  int32_t own_heads() const { return num_heads / query_ranks; }
  // Query heads that share a key head.
  int32_t group() const { return num_heads / num_kv_heads; }
  bool has_cache() const { return page_size > 0; }
};

// This rank among those of its context.
struct RankOf {
  int32_t rank = 0, num_ranks = 1;
  bool has_comm = false;
};

// Checks the caller's structs and fills in the defaults; throws Failure with the field's name.
// spec.score_expr is for the caller to look into.
Problem make_problem(const pagoda_spec& spec, const pagoda_limits& limits,
                     const pagoda_tuning& tuning, RankOf rank = {});

}  // namespace pagoda

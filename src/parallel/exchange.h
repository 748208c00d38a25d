// What the steps between ranks keep in the workspace, and in which order heads lie there.
//
// Ranks that gather their queries share the heads of keys. A rank's query head number h belongs to
// key head h / group. The gathered heads keep all queries of a key head together, so that attention
// reads each key once for all of them:
//
//     [num_kv_heads, query_ranks, group of one rank]
#pragma once

#include "../core/kv_format.h"
#include "../plan/plan.h"

namespace pagoda::parallel {

inline Dtype query_dtype(const Problem& problem) {
  return dtype_of(query_format_of(problem.query_format), problem.dtype);
}
inline bool has_query_scales(const Problem& problem) {
  return query_format_of(problem.query_format).scale == ScaleOf::token;
}

struct HeadMap {
  int32_t query_ranks, own_group;

  explicit HeadMap(const Problem& problem)
      : query_ranks(problem.query_ranks), own_group(problem.group() / problem.query_ranks) {}

  // Where head `own` of the caller of rank r lies among the gathered.
  int32_t gathered(int32_t r, int32_t own) const {
    return (own / own_group * query_ranks + r) * own_group + own % own_group;
  }
};

// Names and sizes of the regions; T stands for the tokens of a step.
struct ExchangeSizes {
  // What a rank sends: its queries [T, own_heads, head_dim], their scales [T, own_heads] where
  // tokens have them, its slopes [own_heads].
  size_t query_bytes;
  size_t states;  // floats of one rank's outputs, [T, own_heads, head_dim_v]
  size_t lses;    // floats: [num_heads, T]

  ExchangeSizes(const Problem& problem, int32_t num_tokens);
};

inline constexpr const char* kQueriesRegion = "ranks.queries";  // [T, num_heads, head_dim]
inline constexpr const char* kScalesRegion = "ranks.scales";    // [T, num_heads] of queries
inline constexpr const char* kSlopesRegion = "ranks.slopes";    // [num_heads]
inline constexpr const char* kOutRegion = "ranks.out";          // [T, num_heads, head_dim_v] float
inline constexpr const char* kLseRegion = "ranks.lse";          // [num_heads, T]
inline constexpr const char* kLsesRegion = "ranks.lses";        // [num_ranks, num_heads, T]
inline constexpr const char* kSendRegion = "ranks.send";        // queries, later weighted outputs
inline constexpr const char* kRecvRegion = "ranks.recv";        // likewise

void add_exchange_regions(const Problem& problem, WorkspaceMap& map);

}  // namespace pagoda::parallel

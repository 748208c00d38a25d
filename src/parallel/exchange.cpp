#include "exchange.h"

#include <algorithm>

namespace pagoda::parallel {
namespace {

size_t product(int64_t a, int64_t b, int64_t c = 1) {
  return static_cast<size_t>(a) * static_cast<size_t>(b) * static_cast<size_t>(c);
}

}  // namespace

ExchangeSizes::ExchangeSizes(const Problem& problem, int32_t num_tokens)
    : query_bytes(product(num_tokens, problem.own_heads(), problem.head_dim) *
                      size_of(query_dtype(problem)) +
                  product(problem.own_heads(), 1 + (has_query_scales(problem) ? num_tokens : 0),
                          sizeof(float))),
      states(product(num_tokens, problem.own_heads(), problem.head_dim_v)),
      lses(product(problem.num_heads, num_tokens)) {}

void add_exchange_regions(const Problem& problem, WorkspaceMap& map) {
  const int32_t tokens = problem.limits.max_tokens;
  const auto ranks = static_cast<size_t>(problem.shard.num_ranks);
  const auto query_ranks = static_cast<size_t>(problem.query_ranks);
  const ExchangeSizes sizes(problem, tokens);
  const bool gathers = query_ranks > 1;
  map.add_array(kQueriesRegion, gathers ? product(tokens, problem.num_heads, problem.head_dim) : 0,
                size_of(query_dtype(problem)));
  map.add_array(kScalesRegion,
                gathers && has_query_scales(problem) ? product(tokens, problem.num_heads) : 0,
                sizeof(float));
  map.add_array(kSlopesRegion, gathers ? static_cast<size_t>(problem.num_heads) : 0, sizeof(float));
  map.add_array(kOutRegion, query_ranks * sizes.states, sizeof(float));
  map.add_array(kLseRegion, sizes.lses, sizeof(float));
  map.add_array(kLsesRegion, ranks * sizes.lses, sizeof(float));
  // Heads of its own: one part of the outputs goes to each rank, and its own sum comes back.
  // Copies: the outputs of all ranks come.
  const size_t outputs = ranks * sizes.states * sizeof(float);
  map.add(kSendRegion, std::max(gathers ? sizes.query_bytes : 0, outputs));
  map.add(kRecvRegion, std::max(gathers ? ranks * sizes.query_bytes : 0, outputs));
}

}  // namespace pagoda::parallel

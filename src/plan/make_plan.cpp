#include "plan.h"

namespace pagoda {

Plan make_plan(const Problem& problem) {
  Attend attend{.keys = problem.has_cache() ? Keys::cache : Keys::call,
                .mask = problem.mask,
                .has_block_mask = problem.has_block_mask,
                .adds_sinks = problem.has_sinks};
  if (problem.shard.is_whole()) return {.steps = {attend}};
  attend.adds_sinks = false;
  return {.steps = {GatherQueries{}, attend, ReduceStates{.adds_sinks = problem.has_sinks}}};
}

}  // namespace pagoda

#include "plan.h"

namespace pagoda {

Plan make_plan(const Problem& problem) {
  return {.steps = {Attend{.keys = problem.has_cache() ? Keys::cache : Keys::call,
                           .mask = problem.mask,
                           .adds_sinks = problem.has_sinks}}};
}

}  // namespace pagoda

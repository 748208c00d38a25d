// The steps of a plan that need other ranks. The runner knows them by this interface; what they do
// is src/parallel's.
#pragma once

#include "backend.h"

namespace pagoda {

// What an Attend step works on: the caller's operands, or those that the steps before it made.
struct LayerCall {
  Layer layer;
  Operands operands;
};

class Ranks {
 public:
  virtual ~Ranks() = default;

  // Regions for the steps below, from limits alone. Throws Failure if this context has no ranks.
  virtual void add_workspace(const Problem& problem, WorkspaceMap& map) const = 0;

  // The queries of all ranks, and places for their states over this rank's keys.
  virtual LayerCall gather_queries(const Prepared& prepared, const LayerCall& own) = 0;

  // The states over this rank's keys, reduced over the ranks into `own`.
  virtual void reduce_states(const Prepared& prepared, const ReduceStates& step,
                             const LayerCall& attended, const LayerCall& own) = 0;
};

}  // namespace pagoda

// A plan is the list of steps that turns queries into outputs. Every feature of the library is an
// arrangement of a few kinds of step; a backend knows only how to run each one.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "../core/mask.h"
#include "problem.h"
#include "workspace.h"

namespace pagoda {

enum class Keys : uint8_t {
  cache,  // the pages
  call,   // the key and value tensors of the call
};

// Attention of every request's queries over its keys, into the caller's out and lse.
struct Attend {
  Keys keys = Keys::cache;
  Mask mask;
  bool has_block_mask = false;  // the batch's, on top
  bool adds_sinks = false;      // exactly one step that writes a result does
};

// Context parallelism: gives every rank the queries of all, for which it then attends to its own
// share of the keys. Where the ranks have the same queries there is nothing to gather but a place
// for the states.
struct GatherQueries {};

// Each rank gets its own heads back, the states over the ranks' keys weighted by their
// log-sum-exps.
struct ReduceStates {
  bool adds_sinks = false;
};

using Step = std::variant<GatherQueries, Attend, ReduceStates>;

struct Plan {
  std::vector<Step> steps;
};

Plan make_plan(const Problem& problem);

// Who runs a plan.
struct Server {
  std::string backend, kernel;
  bool groups_requests = false;  // that share pages, where the tuning does not forbid it
};

// The problem, the steps and the workspace as text for people.
std::string describe(const Problem& problem, const Plan& plan, const WorkspaceMap& workspace,
                     const Server& server);

}  // namespace pagoda

// One case from its two seeds: drawn, computed by the oracle, run on both forms of the reference
// and on the CPU backend, the latter twice with different garbage in unused memory.
#pragma once

#include <string>

#include "backends.h"
#include "compare.h"

namespace pagoda::conformance {

struct CaseId {
  uint64_t geometry, data;
};

struct Ratios {  // the largest error / bound seen
  double reference_out = 0, reference_lse = 0, cpu_out = 0, cpu_lse = 0;
  void include(const Ratios& other);
};

struct Verdict {
  std::string complaint;  // what failed first, with the case; empty if nothing did
  Ratios ratios;
};

Verdict check_case(const CaseId& id, Backends& backends);

// The same for a geometry that was not drawn from id.geometry, or was changed after it.
Verdict check_geometry(const Geometry& geometry, uint64_t data_seed, Backends& backends);

// How to run this case alone.
std::string command_of(const CaseId& id);

}  // namespace pagoda::conformance

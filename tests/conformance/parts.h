// Parts of a case, and of its result: what a request gets alone, or in chunks.
#pragma once

#include "step.h"

namespace pagoda::conformance {

struct Case {
  Geometry geometry;
  Values values;
};

// Every request on pages of its own, so that requests can be moved and changed.
void unshare(Geometry& g);

// Rows [first, first + count) of a result.
Result rows_of(const Result& whole, const Geometry& g, int32_t first, int32_t count);

// One request of a case, cut to its queries [first, first + count) and the keys up to the last of
// them.
Case part_of(const Case& whole, size_t r, int32_t first, int32_t count);

// The row of a result at which a request's begin.
int32_t first_token_of(const Geometry& g, size_t r);

}  // namespace pagoda::conformance

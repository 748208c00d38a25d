// The value of an expression at one point: the definition that every faster evaluator is held to.
#pragma once

#include "bindings.h"
#include "expr.h"

namespace pagoda::mask {

// One place: a request, a head, a query and a key.
struct Point {
  int64_t variables[kNumVariables - 1] = {};  // by Variable, without the score
  float score = 0;

  int64_t& operator[](Variable which) { return variables[static_cast<int>(which)]; }
};

// `scratch` holds as many values as the expression has nodes.
Value evaluate(const Expr& expr, const Bindings& bindings, const Point& point, Value* scratch);

}  // namespace pagoda::mask

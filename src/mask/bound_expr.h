// An expression together with what its names hold, as attention takes it.
#pragma once

#include "bindings.h"
#include "expr.h"

namespace pagoda::mask {

struct BoundExpr {
  const Expr expr;
  const Bindings& bindings;
};

}  // namespace pagoda::mask

// An expression together with what its names hold, as attention takes it.
#pragma once

#include <utility>

#include "bindings.h"
#include "program.h"

namespace pagoda::mask {

struct BoundExpr {
  BoundExpr(Expr own, const Bindings& names)
      : expr(std::move(own)),
        program(compile(expr)),
        dealt(compile(expr, KeyOrder::dealt)),
        bindings(names) {}

  const Expr expr;
  const Program program;
  const Program dealt;  // the same for keys that are dealt out to ranks
  const Bindings& bindings;
};

}  // namespace pagoda::mask

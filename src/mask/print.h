// From expression to text: the canonical spelling, with no parenthesis that is not needed. Parsing
// it gives the same expression.
#pragma once

#include <string>

#include "expr.h"
#include "symbols.h"

namespace pagoda::mask {

std::string print(const Expr& expr, const Symbols& symbols);

}  // namespace pagoda::mask

// From text to expression. The grammar is that of C expressions with a few differences: '//' is
// floor division, '%' takes the sign of the divisor, '/' is for floats, comparisons do not chain,
// `and`, `or`, `not` are other spellings, and table[i, j] looks up.
#pragma once

#include <string>
#include <string_view>

#include "../core/error.h"
#include "expr.h"
#include "symbols.h"

namespace pagoda::mask {

// what() is three lines: the sentence with its column, the line of the text, and a caret below it.
class ExpressionError : public Failure {
 public:
  ExpressionError(pagoda_status status, std::string_view text, size_t at,
                  const std::string& sentence, Where where = Where::here());

  const int column;  // from 1, in bytes from the beginning of the text
  const std::string sentence;
};

// A boolean expression without score, tanh, exp and log: their last bit differs between machines,
// and a mask must not. Errors: PAGODA_INVALID_ARGUMENT, or PAGODA_OUT_OF_LIMITS for size and depth.
Expr parse_mask(std::string_view text, const Symbols& symbols);

// A float expression; an integer one is converted.
Expr parse_score(std::string_view text, const Symbols& symbols);

}  // namespace pagoda::mask

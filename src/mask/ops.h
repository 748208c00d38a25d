// What the operators look like and which types they join. The parser, the printer and the checks
// read this one table.
#pragma once

#include <string>

#include "expr.h"

namespace pagoda::mask {

enum class Form : uint8_t { leaf, prefix, infix, call, index, ternary };

struct OpInfo {
  const char* text;  // as it is written
  Form form;
  int precedence;  // infix, prefix and ternary: higher binds tighter
  int num_args;    // index: at least
};

inline constexpr int kTernaryPrecedence = 1;
inline constexpr int kPrefixPrecedence = 8;
inline constexpr int kAtomPrecedence = 9;

const OpInfo& info(Op op);

// Comparisons do not chain.
bool is_comparison(Op op);

// The type of `op` over arguments of these types, or, in `why`, the sentence that refuses them and
// in `at` the argument to blame. An integer beside a real must have been converted before.
struct TypeResult {
  bool ok;
  Type type;
  int at;
  std::string why;
};
TypeResult result_type(Op op, const Type* args);

// Whether an integer among `args` becomes a real because another argument is one.
bool promotes(Op op, const Type* args, int num_args);

}  // namespace pagoda::mask

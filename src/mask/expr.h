// A mask or score expression: a tree in one flat vector, every child before its parent, the root
// last. A tree written down in post order has one form only, so two expressions are the same
// expression exactly if their vectors are equal. An expression is a plain value; what its names
// mean is in symbols.h, what they hold in bindings.h, what its operators do in semantics.h.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace pagoda::mask {

enum class Type : uint8_t { boolean, integer, real };

enum class Op : uint8_t {
  constant,   // value: 0 or 1, a 64-bit integer, or the bits of a float
  variable,   // value: a Variable
  parameter,  // value: its index in Symbols::parameters
  lookup,     // value: its index in Symbols::tables; one to three indices
  negate,
  logical_not,
  absolute,
  to_real,
  tanh,
  exp,
  log,
  sqrt,
  add,
  subtract,
  multiply,
  divide,        // reals only
  floor_divide,  // integers only
  modulo,        // integers only; the result has the sign of the divisor
  minimum,
  maximum,
  less,
  less_equal,
  greater,
  greater_equal,
  equal,
  not_equal,
  logical_and,
  logical_or,
  select,  // condition, value if true, value if false
};
inline constexpr int kNumOps = static_cast<int>(Op::select) + 1;

enum class Variable : uint8_t {
  request,    // r: index in the batch
  head,       // h: query head
  kv_head,    // g: h / (num_heads / num_kv_heads)
  query,      // q: position in the sequence; negative for queries before the first key
  key,        // k: position in the sequence, whatever page it lies in
  seq_len,    // keys of the request, this step's included
  query_len,  // queries of the request in this step
  score,      // the logit so far; in score expressions only
};
inline constexpr int kNumVariables = static_cast<int>(Variable::score) + 1;

inline constexpr int kMaxArgs = 3;

struct Node {
  Op op;
  Type type;
  int16_t depth;           // a leaf has 1
  int32_t args[kMaxArgs];  // indices of the children, -1: none
  int64_t value;           // by op, otherwise 0

  bool operator==(const Node&) const = default;
};

struct Expr {
  std::vector<Node> nodes;

  const Node& root() const { return nodes.back(); }
  bool operator==(const Expr&) const = default;
};

// Limits. They bound the time and memory that a text from outside can ask for.
inline constexpr int kMaxNodes = 1024;
inline constexpr int kMaxDepth = 256;
inline constexpr int kMaxText = 16384;  // bytes

// Leaves.
Expr boolean(bool value);
Expr integer(int64_t value);
Expr real(float value);  // finite
Expr variable(Variable which);
Expr parameter(int index, Type type);

// An inner node over `args`, in order. Types must fit as ops.h says (see result_type); size and
// depth are checked: PAGODA_OUT_OF_LIMITS.
Expr combine(Op op, std::initializer_list<const Expr*> args);
Expr lookup(int table, Type type, std::initializer_list<const Expr*> indices);

float real_of(const Node& constant);

const char* name_of(Type type);  // "an integer"
const char* name_of(Variable which);

}  // namespace pagoda::mask

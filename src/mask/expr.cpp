// Building expressions bottom up.
#include "expr.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "../core/error.h"
#include "ops.h"

namespace pagoda::mask {
namespace {

Expr leaf(Op op, Type type, int64_t value) {
  return {{Node{.op = op, .type = type, .depth = 1, .args = {-1, -1, -1}, .value = value}}};
}

Expr join(Node node, std::initializer_list<const Expr*> args) {
  size_t size = 1;
  for (const Expr* arg : args) size += arg->nodes.size();
  expect(size <= kMaxNodes, PAGODA_OUT_OF_LIMITS, "the expression has ", size,
         " operations and operands; at most ", kMaxNodes, " are allowed");
  Expr whole;
  whole.nodes.reserve(size);
  int16_t depth = 0;
  int i = 0;
  for (const Expr* arg : args) {
    const auto shift = static_cast<int32_t>(whole.nodes.size());
    for (Node part : arg->nodes) {
      for (int32_t& child : part.args)
        if (child >= 0) child += shift;
      whole.nodes.push_back(part);
    }
    node.args[i++] = static_cast<int32_t>(whole.nodes.size()) - 1;
    depth = std::max(depth, arg->root().depth);
  }
  expect(depth < kMaxDepth, PAGODA_OUT_OF_LIMITS, "the expression is nested deeper than ",
         kMaxDepth, " levels");
  node.depth = static_cast<int16_t>(depth + 1);
  whole.nodes.push_back(node);
  return whole;
}

}  // namespace

Expr boolean(bool value) {
  return leaf(Op::constant, Type::boolean, value ? 1 : 0);
}
Expr integer(int64_t value) {
  return leaf(Op::constant, Type::integer, value);
}

Expr real(float value) {
  expect(std::isfinite(value), PAGODA_INVALID_ARGUMENT, "a constant must be finite");
  return leaf(Op::constant, Type::real, std::bit_cast<int32_t>(value));
}

Expr variable(Variable which) {
  const Type type = which == Variable::score ? Type::real : Type::integer;
  return leaf(Op::variable, type, static_cast<int64_t>(which));
}

Expr parameter(int index, Type type) {
  return leaf(Op::parameter, type, index);
}

Expr combine(Op op, std::initializer_list<const Expr*> args) {
  expect(static_cast<int>(args.size()) == info(op).num_args, PAGODA_INVALID_ARGUMENT, "'",
         info(op).text, "' takes ", info(op).num_args, " arguments, not ", args.size());
  Type types[kMaxArgs] = {};
  std::transform(args.begin(), args.end(), types, [](const Expr* arg) { return arg->root().type; });
  const TypeResult result = result_type(op, types);
  expect(result.ok, PAGODA_INVALID_ARGUMENT, result.why);
  return join({.op = op, .type = result.type, .depth = 0, .args = {-1, -1, -1}, .value = 0}, args);
}

Expr lookup(int table, Type type, std::initializer_list<const Expr*> indices) {
  for (const Expr* index : indices)
    expect(index->root().type == Type::integer, PAGODA_INVALID_ARGUMENT,
           "an index must be an integer, not ", name_of(index->root().type));
  return join({.op = Op::lookup, .type = type, .depth = 0, .args = {-1, -1, -1}, .value = table},
              indices);
}

float real_of(const Node& constant) {
  return std::bit_cast<float>(static_cast<int32_t>(constant.value));
}

const char* name_of(Type type) {
  constexpr const char* kNames[] = {"a boolean", "an integer", "a float"};
  return kNames[static_cast<int>(type)];
}

const char* name_of(Variable which) {
  constexpr const char* kNames[kNumVariables] = {"r", "h",       "g",         "q",
                                                 "k", "seq_len", "query_len", "score"};
  return kNames[static_cast<int>(which)];
}

}  // namespace pagoda::mask

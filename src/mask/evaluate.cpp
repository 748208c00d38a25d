#include "evaluate.h"

namespace pagoda::mask {
namespace {

Value leaf(const Node& node, const Bindings& bindings, const Point& point) {
  if (node.op == Op::parameter) return bindings.parameter(node.value);
  if (node.op == Op::variable) {
    if (node.value == static_cast<int64_t>(Variable::score)) return {.f = point.score};
    return {.i = point.variables[node.value]};
  }
  return node.type == Type::real ? Value{.f = real_of(node)} : Value{.i = node.value};
}

Value looked_up(const Node& node, const Bindings& bindings, const Value* values) {
  int64_t indices[kMaxArgs] = {};
  for (int i = 0; i < kMaxArgs && node.args[i] >= 0; ++i) indices[i] = values[node.args[i]].i;
  return bindings.table(node.value).lookup(bindings.table_symbol(node.value), indices);
}

}  // namespace

Value evaluate(const Expr& expr, const Bindings& bindings, const Point& point, Value* scratch) {
  Value* next = scratch;
  for (const Node& node : expr.nodes) {
    if (node.args[0] < 0) {
      *next++ = leaf(node, bindings, point);
    } else if (node.op == Op::lookup) {
      *next++ = looked_up(node, bindings, scratch);
    } else {
      const Type type = expr.nodes[static_cast<size_t>(node.args[0])].type;
      const auto arg = [&](int i) { return node.args[i] < 0 ? Value{} : scratch[node.args[i]]; };
      *next++ = apply(node.op, type, arg(0), arg(1), arg(2));
    }
  }
  return next[-1];
}

}  // namespace pagoda::mask

#include "semantics.h"

#include "ops.h"

namespace pagoda::mask {
namespace {

template <class T>
bool compare(Op op, T a, T b) {
  switch (op) {
    case Op::less:
      return a < b;
    case Op::less_equal:
      return a <= b;
    case Op::greater:
      return a > b;
    case Op::greater_equal:
      return a >= b;
    case Op::equal:
      return a == b;
    default:
      return a != b;
  }
}

template <class T>
T arithmetic(Op op, T a, T b) {
  switch (op) {
    case Op::negate:
      return wrap_negate(a);
    case Op::absolute:
      return absolute(a);
    case Op::add:
      return wrap_add(a, b);
    case Op::subtract:
      return wrap_subtract(a, b);
    case Op::multiply:
      return wrap_multiply(a, b);
    case Op::minimum:
      return minimum(a, b);
    default:
      return maximum(a, b);
  }
}

float real_function(Op op, float a, float b) {
  switch (op) {
    case Op::tanh:
      return std::tanh(a);
    case Op::exp:
      return std::exp(a);
    case Op::log:
      return std::log(a);
    case Op::sqrt:
      return std::sqrt(a);
    case Op::divide:
      return a / b;
    default:
      return arithmetic(op, a, b);
  }
}

}  // namespace

Value apply(Op op, Type type, const Value& a, const Value& b, const Value& c) {
  if (op == Op::select) return a.i != 0 ? b : c;
  if (op == Op::logical_not) return {.i = a.i == 0};
  if (op == Op::logical_and) return {.i = (a.i & b.i)};
  if (op == Op::logical_or) return {.i = (a.i | b.i)};
  if (op == Op::to_real) return {.f = static_cast<float>(a.i)};
  if (is_comparison(op))
    return {.i = type == Type::real ? compare(op, a.f, b.f) : compare(op, a.i, b.i)};
  if (type == Type::real) return {.f = real_function(op, a.f, b.f)};
  if (op == Op::floor_divide) return {.i = floor_divide(a.i, b.i)};
  if (op == Op::modulo) return {.i = floor_modulo(a.i, b.i)};
  return {.i = arithmetic(op, a.i, b.i)};
}

}  // namespace pagoda::mask

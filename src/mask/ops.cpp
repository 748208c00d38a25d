// The operator table, and the rules of types.
#include "ops.h"

#include <algorithm>

namespace pagoda::mask {
namespace {

constexpr OpInfo kOps[kNumOps] = {
    {"constant", Form::leaf, kAtomPrecedence, 0},
    {"variable", Form::leaf, kAtomPrecedence, 0},
    {"parameter", Form::leaf, kAtomPrecedence, 0},
    {"lookup", Form::index, kAtomPrecedence, 1},
    {"-", Form::prefix, kPrefixPrecedence, 1},
    {"!", Form::prefix, kPrefixPrecedence, 1},
    {"abs", Form::call, kAtomPrecedence, 1},
    {"float", Form::call, kAtomPrecedence, 1},
    {"tanh", Form::call, kAtomPrecedence, 1},
    {"exp", Form::call, kAtomPrecedence, 1},
    {"log", Form::call, kAtomPrecedence, 1},
    {"sqrt", Form::call, kAtomPrecedence, 1},
    {"+", Form::infix, 6, 2},
    {"-", Form::infix, 6, 2},
    {"*", Form::infix, 7, 2},
    {"/", Form::infix, 7, 2},
    {"//", Form::infix, 7, 2},
    {"%", Form::infix, 7, 2},
    {"min", Form::call, kAtomPrecedence, 2},
    {"max", Form::call, kAtomPrecedence, 2},
    {"<", Form::infix, 5, 2},
    {"<=", Form::infix, 5, 2},
    {">", Form::infix, 5, 2},
    {">=", Form::infix, 5, 2},
    {"==", Form::infix, 4, 2},
    {"!=", Form::infix, 4, 2},
    {"&&", Form::infix, 3, 2},
    {"||", Form::infix, 2, 2},
    {"?", Form::ternary, kTernaryPrecedence, 3},
};

std::string quoted(Op op) {
  return std::string("'") + info(op).text + "'";
}

TypeResult accept(Type type) {
  return {.ok = true, .type = type, .at = 0, .why = {}};
}

TypeResult refuse(int at, std::string why) {
  return {.ok = false, .type = Type::boolean, .at = at, .why = std::move(why)};
}

TypeResult all_of(Op op, const Type* args, Type wanted, const char* what, Type result) {
  for (int i = 0; i < info(op).num_args; ++i)
    if (args[i] != wanted)
      return refuse(i, quoted(op) + " expects " + what + ", but this is " + name_of(args[i]));
  return accept(result);
}

TypeResult numbers(Op op, const Type* args) {
  for (int i = 0; i < info(op).num_args; ++i)
    if (args[i] == Type::boolean)
      return refuse(i, quoted(op) + " expects a number, but this is " + name_of(args[i]));
  if (info(op).num_args == 2 && args[0] != args[1])
    return refuse(1, quoted(op) + " expects two numbers of one type");
  return accept(args[0]);
}

TypeResult integers_only(Op op, const Type* args) {
  for (int i = 0; i < 2; ++i) {
    if (args[i] == Type::integer) continue;
    std::string why = quoted(op) + " expects integers, but this is " + name_of(args[i]);
    if (args[i] == Type::real && op == Op::floor_divide) why += "; '/' divides floats";
    return refuse(i, std::move(why));
  }
  return accept(Type::integer);
}

TypeResult division(const Type* args) {
  if (args[0] == Type::integer && args[1] == Type::integer)
    return refuse(0, "'/' divides floats; write '//' for the floor division of integers");
  return all_of(Op::divide, args, Type::real, "a float", Type::real);
}

TypeResult equality(Op op, const Type* args) {
  if (args[0] == args[1]) return accept(Type::boolean);
  return refuse(1, quoted(op) + " compares " + name_of(args[0]) + " with " + name_of(args[1]));
}

TypeResult selection(const Type* args) {
  if (args[0] != Type::boolean)
    return refuse(0,
                  std::string("'?' expects a boolean before it, but this is ") + name_of(args[0]));
  if (args[1] == args[2]) return accept(args[1]);
  return refuse(2, std::string("the two sides of ':' differ: ") + name_of(args[1]) + " and " +
                       name_of(args[2]));
}

}  // namespace

const OpInfo& info(Op op) {
  return kOps[static_cast<int>(op)];
}

bool is_comparison(Op op) {
  return op >= Op::less && op <= Op::not_equal;
}

TypeResult result_type(Op op, const Type* args) {
  switch (op) {
    case Op::logical_not:
    case Op::logical_and:
    case Op::logical_or:
      return all_of(op, args, Type::boolean, "a boolean", Type::boolean);
    case Op::negate:
    case Op::absolute:
    case Op::add:
    case Op::subtract:
    case Op::multiply:
    case Op::minimum:
    case Op::maximum:
      return numbers(op, args);
    case Op::to_real:
      return all_of(op, args, Type::integer, "an integer", Type::real);
    case Op::tanh:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
      return all_of(op, args, Type::real, "a float", Type::real);
    case Op::divide:
      return division(args);
    case Op::floor_divide:
    case Op::modulo:
      return integers_only(op, args);
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal: {
      TypeResult result = numbers(op, args);
      result.type = Type::boolean;
      return result;
    }
    case Op::equal:
    case Op::not_equal:
      return equality(op, args);
    case Op::select:
      return selection(args);
    default:
      return refuse(0, "a leaf has no arguments");
  }
}

bool promotes(Op op, const Type* args, int num_args) {
  if (op == Op::sqrt || op == Op::tanh || op == Op::exp || op == Op::log) return true;
  const bool joins = (op >= Op::add && op <= Op::divide) ||
                     (op >= Op::minimum && op <= Op::equal) || op == Op::not_equal ||
                     op == Op::select;
  if (!joins) return false;
  const Type* first = args + (op == Op::select ? 1 : 0);
  return std::find(first, args + num_args, Type::real) != args + num_args;
}

}  // namespace pagoda::mask

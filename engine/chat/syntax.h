// The syntax tree of a template. Every expression knows where it stands, for messages.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/chat/value.h"
#include "engine/error.h"

namespace pagoda::engine::jinja {

struct Place {
  int line = 1;
  int column = 1;  // in characters of the source, from 1
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct ListDisplay {  // [a, b] and (a, b)
  std::vector<ExpressionPtr> items;
};
struct DictDisplay {  // {"a": b}
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};
enum class UnaryOperator { kNot, kMinus, kPlus };
struct Unary {
  UnaryOperator op;
  ExpressionPtr operand;
};
enum class BinaryOperator {
  kAnd,
  kOr,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kConcatenate,
};
struct Binary {
  BinaryOperator op;
  ExpressionPtr left, right;
};
enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};
struct Compare {  // a < b <= c: every neighbouring pair must hold
  ExpressionPtr first;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
};
struct Conditional {  // a if condition else b
  ExpressionPtr condition, then;
  ExpressionPtr otherwise;  // null: undefined
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Subscript {
  ExpressionPtr object, index;
};
struct Slice {
  ExpressionPtr object;
  ExpressionPtr start, stop, step;  // each may be null
};
struct Call {
  ExpressionPtr callee;
  Arguments arguments;
};
struct Filter {
  ExpressionPtr input;
  std::string name;
  Arguments arguments;
};
struct Test {
  ExpressionPtr operand;
  std::string name;
  Arguments arguments;
  bool negated = false;
};

struct Expression {
  Place place;
  int height = 1;  // of the tree below, so that what walks it does not run out of stack
  std::variant<Literal, Name, ListDisplay, DictDisplay, Unary, Binary, Compare, Conditional,
               Attribute, Subscript, Slice, Call, Filter, Test>
      node;
};

struct Statement;
using Body = std::vector<Statement>;

struct Text {
  std::string text;
};
struct Output {
  ExpressionPtr expression;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct For {
  std::vector<std::string> targets;  // more than one: each item is unpacked
  ExpressionPtr iterable;
  ExpressionPtr condition;  // null: every item
  Body body;
  Body otherwise;  // when there was no item
};
struct Set {
  std::string object;  // of a namespace's member; else empty
  std::string name;
  ExpressionPtr value;  // null: what `body` writes
  Body body;
};
struct Macro {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with default, or null
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  Place place;
  std::variant<Text, Output, If, For, Set, Macro, Break, Continue> node;
};

// Throws Error(kTemplate) that begins with the place.
template <class... Parts>
[[noreturn]] void fail_at(Place place, const Parts&... parts) {
  fail(ErrorKind::kTemplate, "chat template, line ", place.line, ", column ", place.column, ": ",
       parts...);
}

}  // namespace pagoda::engine::jinja

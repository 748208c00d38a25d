#include "print.h"

#include <charconv>

#include "ops.h"

namespace pagoda::mask {
namespace {

// A float keeps a '.' or an exponent, or it would be read back as an integer.
std::string spell(float value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  std::string text(buffer, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

class Printer {
 public:
  Printer(const Expr& expr, const Symbols& symbols) : expr_(expr), symbols_(symbols) {}

  std::string print(int32_t index) const {
    const Node& node = at(index);
    switch (info(node.op).form) {
      case Form::leaf:
        return leaf(node);
      case Form::index:
        return symbols_.tables()[static_cast<size_t>(node.value)].name + list(node, "[", "]");
      case Form::call:
        return info(node.op).text + list(node, "(", ")");
      case Form::prefix:
        return info(node.op).text + prefix_operand(node.args[0]);
      case Form::infix: {
        const int own = precedence(index);
        const bool chains = !is_comparison(node.op);
        return child(node.args[0], chains ? own : own + 1) + " " + info(node.op).text + " " +
               child(node.args[1], own + 1);
      }
      case Form::ternary:
        break;
    }
    return child(node.args[0], kTernaryPrecedence + 1) + " ? " + print(node.args[1]) + " : " +
           child(node.args[2], kTernaryPrecedence);
  }

 private:
  const Node& at(int32_t index) const { return expr_.nodes[static_cast<size_t>(index)]; }

  // A negative constant is spelled with the prefix '-'.
  bool is_negative(const Node& node) const {
    if (node.op != Op::constant || node.type == Type::boolean) return false;
    return node.type == Type::integer ? node.value < 0 : spell(real_of(node))[0] == '-';
  }

  int precedence(int32_t index) const {
    const Node& node = at(index);
    return is_negative(node) ? kPrefixPrecedence : info(node.op).precedence;
  }

  std::string in_parentheses(int32_t index) const {
    return std::string("(").append(print(index)).append(")");
  }

  std::string child(int32_t index, int at_least) const {
    return precedence(index) >= at_least ? print(index) : in_parentheses(index);
  }

  // '-' before a literal would be read as the literal's sign.
  std::string prefix_operand(int32_t index) const {
    const bool literal = at(index).op == Op::constant && at(index).type != Type::boolean;
    return literal ? in_parentheses(index) : child(index, kPrefixPrecedence);
  }

  std::string leaf(const Node& node) const {
    const auto index = static_cast<size_t>(node.value);
    if (node.op == Op::variable) return name_of(static_cast<Variable>(node.value));
    if (node.op == Op::parameter) return symbols_.parameters()[index].name;
    if (node.type == Type::boolean) return node.value != 0 ? "true" : "false";
    return node.type == Type::integer ? std::to_string(node.value) : spell(real_of(node));
  }

  std::string list(const Node& node, const char* open, const char* close) const {
    std::string text = open;
    for (int i = 0; i < kMaxArgs && node.args[i] >= 0; ++i)
      text += (i == 0 ? "" : ", ") + print(node.args[i]);
    return text + close;
  }

  const Expr& expr_;
  const Symbols& symbols_;
};

}  // namespace

std::string print(const Expr& expr, const Symbols& symbols) {
  return Printer(expr, symbols).print(static_cast<int32_t>(expr.nodes.size()) - 1);
}

}  // namespace pagoda::mask

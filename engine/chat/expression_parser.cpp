// Expressions, from the lowest precedence to the highest: conditional, or, and, not, comparisons,
// + -, ~, * / // %, **, signs, and then what is written behind a value: . [] () | is.
#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "engine/chat/builtins.h"
#include "engine/chat/token_stream.h"

namespace pagoda::engine::jinja {
namespace {

int height_of(const ExpressionPtr& expression) {
  return expression == nullptr ? 0 : expression->height;
}

int height_of(const std::vector<ExpressionPtr>& expressions) {
  int height = 0;
  for (const ExpressionPtr& expression : expressions)
    height = std::max(height, height_of(expression));
  return height;
}

int height_of(const Arguments& arguments) {
  int height = height_of(arguments.positional);
  for (const auto& named : arguments.named) height = std::max(height, height_of(named.second));
  return height;
}

// The tallest of what a node holds.
struct HeightBelow {
  int operator()(const Literal&) const { return 0; }
  int operator()(const Name&) const { return 0; }
  int operator()(const ListDisplay& n) const { return height_of(n.items); }
  int operator()(const DictDisplay& n) const {
    int height = 0;
    for (const auto& [key, value] : n.items)
      height = std::max({height, height_of(key), height_of(value)});
    return height;
  }
  int operator()(const Unary& n) const { return height_of(n.operand); }
  int operator()(const Binary& n) const { return std::max(height_of(n.left), height_of(n.right)); }
  int operator()(const Compare& n) const {
    int height = height_of(n.first);
    for (const auto& next : n.rest) height = std::max(height, height_of(next.second));
    return height;
  }
  int operator()(const Conditional& n) const {
    return std::max({height_of(n.condition), height_of(n.then), height_of(n.otherwise)});
  }
  int operator()(const Attribute& n) const { return height_of(n.object); }
  int operator()(const Subscript& n) const {
    return std::max(height_of(n.object), height_of(n.index));
  }
  int operator()(const Slice& n) const {
    return std::max(
        {height_of(n.object), height_of(n.start), height_of(n.stop), height_of(n.step)});
  }
  int operator()(const Call& n) const {
    return std::max(height_of(n.callee), height_of(n.arguments));
  }
  int operator()(const Filter& n) const {
    return std::max(height_of(n.input), height_of(n.arguments));
  }
  int operator()(const Test& n) const {
    return std::max(height_of(n.operand), height_of(n.arguments));
  }
};

template <class Node>
ExpressionPtr make(Place place, Node node) {
  const int height = 1 + HeightBelow{}(node);
  require(height <= kMaxExpressionHeight, ErrorKind::kLimit, "chat template, line ", place.line,
          ": an expression of more than ", kMaxExpressionHeight, " levels");
  return std::make_unique<Expression>(Expression{place, height, std::move(node)});
}

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  ExpressionPtr parse(bool with_condition) {
    const TokenStream::Deeper deeper(stream_);
    return with_condition ? parse_conditional() : parse_or();
  }

 private:
  Place place() const { return stream_.current().place; }

  ExpressionPtr parse_conditional() {
    ExpressionPtr value = parse_or();
    while (stream_.is_name("if")) {
      const Place at = place();
      stream_.take();
      ExpressionPtr condition = parse_or();
      ExpressionPtr otherwise;
      if (stream_.skip_name("else")) otherwise = parse(true);
      value = make(at, Conditional{std::move(condition), std::move(value), std::move(otherwise)});
    }
    return value;
  }

  ExpressionPtr parse_or() {
    ExpressionPtr left = parse_and();
    while (stream_.is_name("or")) {
      const Place at = stream_.take().place;
      left = make(at, Binary{BinaryOperator::kOr, std::move(left), parse_and()});
    }
    return left;
  }

  ExpressionPtr parse_and() {
    ExpressionPtr left = parse_not();
    while (stream_.is_name("and")) {
      const Place at = stream_.take().place;
      left = make(at, Binary{BinaryOperator::kAnd, std::move(left), parse_not()});
    }
    return left;
  }

  ExpressionPtr parse_not() {
    if (!stream_.is_name("not")) return parse_comparison();
    const TokenStream::Deeper deeper(stream_);
    const Place at = stream_.take().place;
    return make(at, Unary{UnaryOperator::kNot, parse_not()});
  }

  ExpressionPtr parse_comparison() {
    const Place at = place();
    ExpressionPtr first = parse_sum();
    std::vector<std::pair<Comparison, ExpressionPtr>> rest;
    Comparison comparison;
    while (take_comparison(comparison)) rest.emplace_back(comparison, parse_sum());
    if (rest.empty()) return first;
    return make(at, Compare{std::move(first), std::move(rest)});
  }

  bool take_comparison(Comparison& comparison) {
    constexpr std::pair<std::string_view, Comparison> comparisons[] = {
        {"==", Comparison::kEqual},  {"!=", Comparison::kNotEqual},
        {"<", Comparison::kLess},    {"<=", Comparison::kLessEqual},
        {">", Comparison::kGreater}, {">=", Comparison::kGreaterEqual}};
    for (const auto& [text, value] : comparisons) {
      if (!stream_.skip_operator(text)) continue;
      comparison = value;
      return true;
    }
    comparison = Comparison::kIn;
    if (stream_.skip_name("in")) return true;
    comparison = Comparison::kNotIn;
    if (!stream_.is_name("not") || !stream_.ahead().is(TokenType::kName, "in")) return false;
    stream_.take();
    stream_.take();
    return true;
  }

  using Operators = std::initializer_list<std::pair<std::string_view, BinaryOperator>>;

  // One or more operands of `parse_operand`, with left-associative operators between them.
  ExpressionPtr parse_chain(Operators operators,
                            ExpressionPtr (ExpressionParser::*parse_operand)()) {
    ExpressionPtr left = (this->*parse_operand)();
    while (true) {
      const auto* found = std::find_if(operators.begin(), operators.end(), [&](const auto& op) {
        return stream_.is_operator(op.first);
      });
      if (found == operators.end()) return left;
      const Place at = stream_.take().place;
      left = make(at, Binary{found->second, std::move(left), (this->*parse_operand)()});
    }
  }

  ExpressionPtr parse_sum() {
    return parse_chain({{"+", BinaryOperator::kAdd}, {"-", BinaryOperator::kSubtract}},
                       &ExpressionParser::parse_concatenation);
  }
  ExpressionPtr parse_concatenation() {
    return parse_chain({{"~", BinaryOperator::kConcatenate}}, &ExpressionParser::parse_product);
  }
  ExpressionPtr parse_product() {
    return parse_chain({{"*", BinaryOperator::kMultiply},
                        {"/", BinaryOperator::kDivide},
                        {"//", BinaryOperator::kFloorDivide},
                        {"%", BinaryOperator::kModulo}},
                       &ExpressionParser::parse_power);
  }
  ExpressionPtr parse_power() {
    return parse_chain({{"**", BinaryOperator::kPower}}, &ExpressionParser::parse_signed_value);
  }

  ExpressionPtr parse_signed_value() { return parse_signed(true); }

  // A sign binds closer than a filter: -1|abs is 1.
  ExpressionPtr parse_signed(bool with_filters) {
    ExpressionPtr value;
    if (stream_.is_operator("-") || stream_.is_operator("+")) {
      const TokenStream::Deeper deeper(stream_);
      const Token sign = stream_.take();
      const auto op = sign.text == "-" ? UnaryOperator::kMinus : UnaryOperator::kPlus;
      value = make(sign.place, Unary{op, parse_signed(false)});
    } else {
      value = parse_primary();
    }
    value = parse_postfix(std::move(value));
    return with_filters ? parse_filters(std::move(value)) : std::move(value);
  }

  ExpressionPtr parse_primary() {
    const Token token = stream_.take();
    switch (token.type) {
      case TokenType::kName:
        return parse_name(token);
      case TokenType::kString:
        return parse_string(token);
      case TokenType::kInteger:
      case TokenType::kFloat:
        return parse_number(token);
      case TokenType::kOperator:
        if (token.text == "(") return parse_parenthesis(token.place);
        if (token.text == "[") return make(token.place, ListDisplay{parse_items("]")});
        if (token.text == "{") return parse_dict(token.place);
        fail_at(token.place, "a value is missing before '", token.text, "'");
      default:
        fail_at(token.place, "a value is missing");
    }
  }

  ExpressionPtr parse_name(const Token& token) {
    const std::string& name = token.text;
    if (name == "true" || name == "True") return make(token.place, Literal{true});
    if (name == "false" || name == "False") return make(token.place, Literal{false});
    if (name == "none" || name == "None") return make(token.place, Literal{None{}});
    return make(token.place, Name{name});
  }

  ExpressionPtr parse_string(const Token& token) {
    std::string text = token.text;  // neighbouring strings are one
    while (stream_.current().type == TokenType::kString) text += stream_.take().text;
    return make(token.place, Literal{std::move(text)});
  }

  ExpressionPtr parse_number(const Token& token) {
    const char* begin = token.text.data();
    const char* end = begin + token.text.size();
    if (token.type == TokenType::kFloat) {
      double value = 0;
      std::from_chars(begin, end, value);
      return make(token.place, Literal{value});
    }
    int64_t value = 0;
    if (std::from_chars(begin, end, value).ec != std::errc())
      fail_at(token.place, "the number ", token.text, " is beyond 63 bits");
    return make(token.place, Literal{value});
  }

  ExpressionPtr parse_parenthesis(Place at) {
    if (stream_.skip_operator(")")) return make(at, ListDisplay{});
    ExpressionPtr first = parse(true);
    if (stream_.skip_operator(")")) return first;
    stream_.expect_operator(",");
    std::vector<ExpressionPtr> items = parse_items(")");
    items.insert(items.begin(), std::move(first));
    return make(at, ListDisplay{std::move(items)});
  }

  // Expressions with commas between them and perhaps behind, up to `end`.
  std::vector<ExpressionPtr> parse_items(std::string_view end) {
    std::vector<ExpressionPtr> items;
    while (!stream_.skip_operator(end)) {
      items.push_back(parse(true));
      if (!stream_.is_operator(end)) stream_.expect_operator(",");
    }
    return items;
  }

  ExpressionPtr parse_dict(Place at) {
    DictDisplay dict;
    while (!stream_.skip_operator("}")) {
      ExpressionPtr key = parse(true);
      stream_.expect_operator(":");
      dict.items.emplace_back(std::move(key), parse(true));
      if (!stream_.is_operator("}")) stream_.expect_operator(",");
    }
    return make(at, std::move(dict));
  }

  ExpressionPtr parse_postfix(ExpressionPtr value) {
    while (true) {
      const Place at = place();
      if (stream_.skip_operator(".")) {
        if (stream_.current().type == TokenType::kInteger)
          value = make(at, Subscript{std::move(value), parse_number(stream_.take())});
        else
          value = make(at, Attribute{std::move(value), stream_.take_any_name()});
      } else if (stream_.skip_operator("[")) {
        value = parse_subscript(at, std::move(value));
      } else if (stream_.skip_operator("(")) {
        value = make(at, Call{std::move(value), parse_arguments()});
      } else {
        return value;
      }
    }
  }

  ExpressionPtr parse_subscript(Place at, ExpressionPtr object) {
    ExpressionPtr parts[3];
    int colons = 0;
    while (!stream_.skip_operator("]")) {
      if (stream_.skip_operator(":")) {
        if (++colons > 2) fail_at(at, "a slice has at most two colons");
      } else if (parts[colons] == nullptr) {
        parts[colons] = parse(true);
      } else {
        stream_.expect_operator("]");
      }
    }
    if (colons > 0)
      return make(at, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]),
                            std::move(parts[2])});
    if (parts[0] == nullptr) fail_at(at, "an index is missing in '[]'");
    return make(at, Subscript{std::move(object), std::move(parts[0])});
  }

  // Behind an opening parenthesis, up to and with the closing one.
  Arguments parse_arguments() {
    Arguments arguments;
    while (!stream_.skip_operator(")")) {
      if (stream_.is_operator("*") || stream_.is_operator("**"))
        stream_.fail_here("unpacking of arguments is not supported");
      if (stream_.current().type == TokenType::kName &&
          stream_.ahead().is(TokenType::kOperator, "=")) {
        std::string name = stream_.take().text;
        stream_.take();
        arguments.named.emplace_back(std::move(name), parse(true));
      } else if (arguments.named.empty()) {
        arguments.positional.push_back(parse(true));
      } else {
        stream_.fail_here("an argument without a name follows one with a name");
      }
      if (!stream_.is_operator(")")) stream_.expect_operator(",");
    }
    return arguments;
  }

  ExpressionPtr parse_filters(ExpressionPtr value) {
    while (true) {
      const Place at = place();
      if (stream_.skip_operator("|")) {
        std::string name = stream_.take_any_name();
        if (!is_filter(name)) fail_at(at, "the filter '", name, "' is not supported");
        Arguments arguments;
        if (stream_.skip_operator("(")) arguments = parse_arguments();
        value = make(at, Filter{std::move(value), std::move(name), std::move(arguments)});
      } else if (stream_.skip_name("is")) {
        value = parse_test(at, std::move(value));
      } else if (stream_.skip_operator("(")) {
        value = make(at, Call{std::move(value), parse_arguments()});
      } else {
        return value;
      }
    }
  }

  ExpressionPtr parse_test(Place at, ExpressionPtr operand) {
    Test test;
    test.operand = std::move(operand);
    test.negated = stream_.skip_name("not");
    test.name = take_test_name();
    if (!is_test(test.name)) fail_at(at, "the test '", test.name, "' is not supported");
    if (stream_.skip_operator("("))
      test.arguments = parse_arguments();
    else if (starts_test_argument())
      test.arguments.positional.push_back(parse_postfix(parse_primary()));
    return make(at, std::move(test));
  }

  std::string take_test_name() {
    for (std::string_view op : {"==", "!=", "<", "<=", ">", ">="})
      if (stream_.is_operator(op)) return stream_.take().text;
    return stream_.take_any_name();
  }

  bool starts_test_argument() const {
    const Token& token = stream_.current();
    switch (token.type) {
      case TokenType::kName:
        return token.text != "else" && token.text != "or" && token.text != "and" &&
               token.text != "if" && token.text != "is" && token.text != "not" &&
               token.text != "in";
      case TokenType::kString:
      case TokenType::kInteger:
      case TokenType::kFloat:
        return true;
      default:
        return stream_.is_operator("[") || stream_.is_operator("{");
    }
  }

  TokenStream& stream_;
};

}  // namespace

ExpressionPtr parse_expression(TokenStream& stream, bool with_condition) {
  return ExpressionParser(stream).parse(with_condition);
}

ExpressionPtr parse_expression_list(TokenStream& stream, bool with_condition) {
  const Place at = stream.current().place;
  ExpressionPtr first = parse_expression(stream, with_condition);
  if (!stream.is_operator(",")) return first;
  ListDisplay list;
  list.items.push_back(std::move(first));
  while (stream.skip_operator(",")) list.items.push_back(parse_expression(stream, with_condition));
  return make(at, std::move(list));
}

}  // namespace pagoda::engine::jinja

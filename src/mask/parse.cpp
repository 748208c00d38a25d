// Precedence climbing over the operator table. Every operand carries the place where it begins, so
// that an error of type points at the operand that has the wrong one.
#include "parse.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "lexer.h"
#include "ops.h"

namespace pagoda::mask {
namespace {

constexpr int kMaxNesting = 128;  // of parentheses, brackets, prefixes: bounds the recursion

// For those who write another language.
std::string hint(const Token& token) {
  if (token.text == "=") return "; equality is written '=='";
  if (token.text == "&") return "; conjunction is written '&&'";
  if (token.text == "|") return "; disjunction is written '||'";
  return token.text == "[" ? "; only declared tables have elements" : "";
}

std::string counted(size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

struct Operand {
  Expr expr;
  size_t at;
};

class Parser {
 public:
  Parser(std::string_view text, const Symbols& symbols, bool is_score)
      : text_(text), symbols_(symbols), is_score_(is_score), token_(next_token(text, 0)) {}

  Operand whole() {
    if (token_.kind == TokenKind::end) fail(token_.at, "the expression is empty");
    Operand result = expression(0);
    if (token_.kind != TokenKind::end)
      fail(token_.at,
           "expected an operator or the end of the text, found " + describe(token_) + hint(token_));
    return result;
  }

  [[noreturn]] void fail(size_t at, const std::string& sentence,
                         pagoda_status status = PAGODA_INVALID_ARGUMENT) const {
    throw ExpressionError(status, text_, at, sentence);
  }

 private:
  void advance() { token_ = next_token(text_, token_.at + token_.text.size()); }

  // Also checks for `wanted`, and says what it would have closed.
  void take(std::string_view wanted, std::string_view why) {
    if (!token_.is(wanted))
      fail(token_.at, "expected '" + std::string(wanted) + "' " + std::string(why) + ", found " +
                          describe(token_));
    advance();
  }

  // The infix or ternary operator at the current token.
  bool infix(Op* op) const {
    if (token_.kind != TokenKind::symbol && token_.kind != TokenKind::name) return false;
    const std::string_view word = token_.text == "and"  ? "&&"
                                  : token_.text == "or" ? "||"
                                                        : token_.text;
    for (int i = 0; i < kNumOps; ++i) {
      *op = static_cast<Op>(i);
      const Form form = info(*op).form;
      if ((form == Form::infix || form == Form::ternary) && word == info(*op).text) return true;
    }
    return false;
  }

  Operand expression(int min_precedence) {
    const Nesting nesting(*this);
    Operand left = prefix();
    Op op;
    Op previous = Op::constant;
    while (infix(&op) && info(op).precedence >= min_precedence) {
      const Token sign = token_;
      if (is_comparison(op) && is_comparison(previous) &&
          info(op).precedence == info(previous).precedence)
        fail(sign.at, "comparisons do not chain; write a < b && b < c");
      advance();
      if (op == Op::select) {
        left = selection(left);
      } else {
        const Operand right = expression(info(op).precedence + 1);
        left = joined(op, sign.at, {&left, &right});
      }
      previous = op;
    }
    return left;
  }

  Operand selection(const Operand& condition) {
    const Operand yes = expression(0);
    const size_t colon = token_.at;
    take(":", "after '?' and its first value");
    const Operand no = expression(kTernaryPrecedence);
    return joined(Op::select, colon, {&condition, &yes, &no});
  }

  Operand prefix() {
    const Nesting nesting(*this);
    const Token sign = token_;
    if (sign.is("-")) {
      advance();
      if (token_.kind == TokenKind::number) return {number(sign.at, true), sign.at};
      const Operand operand = prefix();
      return at(sign.at, joined(Op::negate, sign.at, {&operand}));
    }
    if (sign.is("!") || sign.is("not")) {
      advance();
      const Operand operand = prefix();
      return at(sign.at, joined(Op::logical_not, sign.at, {&operand}));
    }
    if (sign.is("+")) fail(sign.at, "'+' needs an operand before it");
    return atom();
  }

  Operand atom() {
    const Token token = token_;
    if (token.kind == TokenKind::number) return {number(token.at, false), token.at};
    if (token.kind == TokenKind::name) return {named(token), token.at};
    if (token.is("(")) {
      advance();
      Operand inner = expression(0);
      take(")", "to close the '(' of column " + std::to_string(token.at + 1));
      inner.at = token.at;
      return inner;
    }
    fail(token.at, "expected a number, a name or '(', found " + describe(token));
  }

  Expr number(size_t at, bool negative) {
    const Token token = token_;
    const std::string digits = std::string(negative ? "-" : "").append(token.text);
    advance();
    if (token_.kind == TokenKind::name && token_.at == token.at + token.text.size())
      fail(token.at, std::string("'").append(token.text).append(token_.text) +
                         "' is neither a number nor a name");
    const char* end = digits.data() + digits.size();
    if (token.text.find_first_of(".eE") == std::string_view::npos) {
      int64_t value = 0;
      const auto parsed = std::from_chars(digits.data(), end, value);
      if (parsed.ec != std::errc()) fail(at, "the integer " + digits + " exceeds 64 bits");
      return integer(value);
    }
    float value = 0;
    const auto parsed = std::from_chars(digits.data(), end, value);
    if (parsed.ec != std::errc() || !std::isfinite(value))
      fail(at, "the number " + digits + " is not representable as a 32-bit float");
    return real(value);
  }

  Expr named(const Token& name) {
    advance();
    if (name.text == "true" || name.text == "false") return boolean(name.text == "true");
    if (auto expr = Expr(); is_variable(name, &expr)) return expr;
    for (int i = 0; i < kNumOps; ++i)
      if (info(static_cast<Op>(i)).form == Form::call && name.text == info(static_cast<Op>(i)).text)
        return call(static_cast<Op>(i), name);
    if (const int table = symbols_.find_table(name.text); table >= 0) return looked_up(table, name);
    if (const int index = symbols_.find_parameter(name.text); index >= 0)
      return parameter(index, symbols_.parameters()[static_cast<size_t>(index)].type);
    if (is_reserved(name.text)) fail(name.at, describe(name) + " is an operator, not an operand");
    std::string sentence = "unknown name " + describe(name);
    if (token_.is("(")) sentence += "; functions are abs, min, max, float, sqrt, tanh, exp, log";
    if (!token_.is("(")) sentence += "; " + known_names();
    fail(name.at, sentence);
  }

  std::string known_names() const {
    std::string names = "known are r, h, g, q, k, seq_len, query_len";
    if (is_score_) names += ", score";
    for (const ParameterSymbol& symbol : symbols_.parameters()) names += ", " + symbol.name;
    for (const TableSymbol& symbol : symbols_.tables()) names += ", " + symbol.name + "[]";
    return names;
  }

  bool is_variable(const Token& name, Expr* expr) const {
    constexpr std::string_view kLongNames[kNumVariables] = {
        "request", "head", "kv_head", "query", "key", "seq_len", "query_len", "score"};
    for (int i = 0; i < kNumVariables; ++i) {
      const auto which = static_cast<Variable>(i);
      if (name.text != name_of(which) && name.text != kLongNames[i]) continue;
      if (which == Variable::score && !is_score_)
        fail(name.at,
             "'score' is known in score expressions only; a mask decides before there is one");
      *expr = variable(which);
      return true;
    }
    return false;
  }

  std::vector<Operand> list(std::string_view close, const Token& name) {
    std::vector<Operand> items;
    do {
      advance();
      items.push_back(expression(0));
    } while (token_.is(","));
    take(close, "or ',' in the arguments of " + describe(name));
    return items;
  }

  Expr call(Op op, const Token& name) {
    if (!token_.is("("))
      fail(token_.at, "expected '(' after " + describe(name) + ", found " + describe(token_));
    if (!is_score_ && (op == Op::tanh || op == Op::exp || op == Op::log))
      fail(name.at, describe(name) +
                        " is known in score expressions only; its last bit differs "
                        "between machines, and a mask must not");
    const std::vector<Operand> items = list(")", name);
    const auto wanted = static_cast<size_t>(info(op).num_args);
    // min and max take any number from two on.
    if (wanted == 1 ? items.size() != 1 : items.size() < wanted)
      fail(name.at, describe(name) + " takes " +
                        (wanted == 1 ? "1 argument" : "2 or more arguments") + ", not " +
                        std::to_string(items.size()));
    if (wanted == 1) {
      // float() of a float changes nothing and is not kept.
      if (op == Op::to_real && items[0].expr.root().type == Type::real) return items[0].expr;
      return joined(op, name.at, {&items[0]}).expr;
    }
    Operand folded = items[0];
    for (size_t i = 1; i < items.size(); ++i) folded = joined(op, name.at, {&folded, &items[i]});
    return folded.expr;
  }

  Expr looked_up(int table, const Token& name) {
    const TableSymbol& symbol = symbols_.tables()[static_cast<size_t>(table)];
    if (!token_.is("["))
      fail(token_.at,
           "expected '[' after the table " + describe(name) + ", found " + describe(token_));
    const std::vector<Operand> items = list("]", name);
    if (static_cast<int>(items.size()) != symbol.num_dims)
      fail(name.at, "table " + describe(name) + " has " +
                        counted(static_cast<size_t>(symbol.num_dims), "dimension", "dimensions") +
                        ", but " + counted(items.size(), "index is", "indices are") + " given");
    for (const Operand& item : items)
      if (item.expr.root().type != Type::integer)
        fail(item.at, std::string("an index must be an integer, but this is ") +
                          name_of(item.expr.root().type));
    return limited(name.at, [&] {
      switch (items.size()) {
        case 1:
          return lookup(table, symbol.type, {&items[0].expr});
        case 2:
          return lookup(table, symbol.type, {&items[0].expr, &items[1].expr});
        default:
          return lookup(table, symbol.type, {&items[0].expr, &items[1].expr, &items[2].expr});
      }
    });
  }

  Operand joined(Op op, size_t sign, std::initializer_list<const Operand*> operands) {
    const Operand* const* args = operands.begin();
    const int count = static_cast<int>(operands.size());
    Type types[kMaxArgs] = {};
    for (int i = 0; i < count; ++i) types[i] = args[i]->expr.root().type;
    const bool promote = promotes(op, types, count);
    Expr converted[kMaxArgs];
    const Expr* parts[kMaxArgs] = {};
    for (int i = 0; i < count; ++i) {
      parts[i] = &args[i]->expr;
      if (!promote || types[i] != Type::integer) continue;
      converted[i] = limited(sign, [&] { return combine(Op::to_real, {parts[i]}); });
      parts[i] = &converted[i];
      types[i] = Type::real;
    }
    const TypeResult result = result_type(op, types);
    if (!result.ok) fail(args[result.at]->at, result.why);
    Expr whole = limited(sign, [&] {
      if (count == 1) return combine(op, {parts[0]});
      if (count == 2) return combine(op, {parts[0], parts[1]});
      return combine(op, {parts[0], parts[1], parts[2]});
    });
    return {std::move(whole), args[0]->at};
  }

  // Gives a refusal of size or depth its place.
  template <class Make>
  Expr limited(size_t at, const Make& make) const {
    try {
      return make();
    } catch (const Failure& failure) {
      fail(at, failure.what(), failure.status);
    }
  }

  static Operand at(size_t place, Operand operand) {
    operand.at = place;
    return operand;
  }

  struct Nesting {
    explicit Nesting(Parser& parser) : parser(parser) {
      if (++parser.nesting_ > 2 * kMaxNesting)
        parser.fail(parser.token_.at,
                    "nested deeper than " + std::to_string(kMaxNesting) + " levels",
                    PAGODA_OUT_OF_LIMITS);
    }
    ~Nesting() { --parser.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Parser& parser;
  };

  const std::string_view text_;
  const Symbols& symbols_;
  const bool is_score_;
  Token token_;
  int nesting_ = 0;
};

// The line that holds byte `at`, without control characters, and a caret below it.
std::string pointed(std::string_view text, size_t at) {
  constexpr size_t kAround = 60;
  const size_t line = text.rfind('\n', at == 0 ? 0 : at - 1);
  size_t begin = line == std::string_view::npos || at == 0 ? 0 : line + 1;
  if (at - begin > kAround) begin = at - kAround;
  std::string shown(text.substr(begin, std::min(text.find('\n', at), at + kAround) - begin));
  for (char& c : shown)
    if (c < ' ' || c > '~') c = c == '\t' ? ' ' : '?';
  return "\n  " + shown + "\n  " + std::string(at - begin, ' ') + "^";
}

Operand parse(std::string_view text, const Symbols& symbols, bool is_score) {
  if (text.size() > kMaxText)
    throw ExpressionError(PAGODA_OUT_OF_LIMITS, text, kMaxText,
                          "the text has " + std::to_string(text.size()) + " bytes; at most " +
                              std::to_string(kMaxText) + " are allowed");
  return Parser(text, symbols, is_score).whole();
}

}  // namespace

ExpressionError::ExpressionError(pagoda_status status, std::string_view text, size_t at,
                                 const std::string& sentence, Where where)
    : Failure(status, "column " + std::to_string(at + 1) + ": " + sentence + pointed(text, at),
              where),
      column(static_cast<int>(at) + 1),
      sentence(sentence) {}

Expr parse_mask(std::string_view text, const Symbols& symbols) {
  Operand mask = parse(text, symbols, false);
  if (mask.expr.root().type != Type::boolean)
    throw ExpressionError(
        PAGODA_INVALID_ARGUMENT, text, mask.at,
        std::string("a mask must be a boolean, but this is ") + name_of(mask.expr.root().type));
  return std::move(mask.expr);
}

Expr parse_score(std::string_view text, const Symbols& symbols) {
  Operand score = parse(text, symbols, true);
  const Type type = score.expr.root().type;
  if (type == Type::boolean)
    throw ExpressionError(PAGODA_INVALID_ARGUMENT, text, score.at,
                          "a score must be a number, but this is a boolean");
  return type == Type::real ? std::move(score.expr) : combine(Op::to_real, {&score.expr});
}

}  // namespace pagoda::mask

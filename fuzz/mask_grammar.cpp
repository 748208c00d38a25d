#include "mask_grammar.h"

#include <array>
#include <string_view>
#include <vector>

namespace pagoda::fuzz {
namespace {

using mask::next_token;
using mask::Token;
using mask::TokenKind;

constexpr int kDepth = 4;

// One of every idiom that analysis or evaluation has a way of its own for.
constexpr std::array kMasks = {
    "q >= k",
    "q >= k && q - k < n",
    "abs(q - k) <= n",
    "q >= k && q // 7 == k // 7",
    "q >= k && q // n - k // n <= 1",
    "k < a[r] || q >= k",
    "q >= k && a[q] == a[k]",
    "b[r, q] == b[r, k]",
    "k < seq_len - query_len || b[q - seq_len + query_len, k - seq_len + query_len] != 0",
    "q >= k && (q - k) % 4 == 0",
    "abs(q // 8 - k // 8) <= 2 && abs(q % 8 - k % 8) <= 2",
    "q >= k && q - k < a[h]",
    "q >= k && (q // 16 == k // 16 || k % 16 >= 13)",
    "x < f[k] ? q > k : !(k == 3)",
    "float(k) * 0.5 - x < f[q % 9] || min(q, k, 3) > max(g, -2)",
    "(q > k) == (a[k] < n) || sqrt(float(q)) >= x",
    "a[q - k] > 3 and not (r == 1 or k == 2 * q)",
};
constexpr std::array kScores = {
    "score + 0.05 * float(k - q)",     "30.0 * tanh(score / 30.0)",
    "exp(score) - log(x) * f[k]",      "score * 2 + (q > k ? 1.0 : f[a[k]])",
    "q >= k ? score : -1e30",          "score + f[k % 8] * float(h + 1)",
    "min(score, x) + sqrt(abs(score))"};

constexpr std::array kTokens = {
    "+",  "-",  "*",   "/",   "//",    "%",       "<",         "<=",      ">",   ">=",    "==",
    "!=", "&&", "||",  "and", "or",    "not",     "!",         "?",       ":",   "(",     ")",
    "[",  "]",  ",",   "q",   "k",     "r",       "h",         "g",       "n",   "x",     "a",
    "b",  "f",  "abs", "min", "max",   "float",   "sqrt",      "tanh",    "exp", "log",   "true",
    "0",  "1",  "-1",  "1.5", "false", "seq_len", "query_len", "request", "key", "score", "="};

std::string taken(const std::string& text, size_t at, size_t length, const std::string& instead) {
  return text.substr(0, at) + instead + text.substr(at + length);
}

std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  for (size_t at = 0;;) {
    const Token token = next_token(text, at);
    if (token.kind == TokenKind::end) return tokens;
    tokens.push_back(token);
    at = token.at + token.text.size();
  }
}

// Behind the bracket that closes the one at `from`; -1: none does.
int after_bracket(const std::vector<Token>& tokens, int from) {
  int open = 0;
  for (int i = from; i < static_cast<int>(tokens.size()); ++i) {
    const Token& token = tokens[static_cast<size_t>(i)];
    open += token.is("(") || token.is("[") ? 1 : token.is(")") || token.is("]") ? -1 : 0;
    if (open == 0) return i + 1;
  }
  return -1;
}

}  // namespace

std::string MaskGrammar::number() {
  switch (below(12)) {
    case 0:
      return std::to_string(int64_t{1} << below(63));
    case 1:
      return "-9223372036854775808";
    case 2:
      return "9223372036854775807";
    case 3:
      return "-" + std::to_string(below(40));
    default:
      return std::to_string(below(40));
  }
}

std::string MaskGrammar::integer(int depth) {
  constexpr std::array kVariables = {"q", "k", "q",       "k",         "r",
                                     "h", "g", "seq_len", "query_len", "n"};
  constexpr std::array kInfix = {" + ", " - ", " * ", " // ", " % ", " - "};
  if (depth <= 0 || below(4) == 0)
    return below(3) == 0 ? number() : kVariables[below(kVariables.size())];
  switch (below(10)) {
    case 0:
      return "abs(" + integer(depth - 1) + ")";
    case 1:
      return "-" + integer(depth - 1);
    case 2:
      return (below(2) == 0 ? "min(" : "max(") + integer(depth - 1) + ", " + integer(depth - 1) +
             ")";
    case 3:
      return "a[" + integer(depth - 1) + "]";
    case 4:
      return "b[" + integer(depth - 1) + ", " + integer(depth - 1) + "]";
    case 5:
      return "(" + boolean(depth - 2) + " ? " + integer(depth - 1) + " : " + integer(depth - 1) +
             ")";
    default:
      return "(" + integer(depth - 1) + kInfix[below(kInfix.size())] + integer(depth - 1) + ")";
  }
}

std::string MaskGrammar::real(int depth) {
  constexpr std::array kInfix = {" + ", " - ", " * ", " / "};
  constexpr std::array kCalls = {"sqrt(", "abs(", "tanh(", "exp(", "log("};
  if (depth <= 0 || below(5) == 0) {
    if (is_score_ && below(2) == 0) return "score";
    return below(2) == 0 ? "x" : std::to_string(below(40)) + "." + std::to_string(below(100));
  }
  switch (below(8)) {
    case 0:
      return kCalls[below(is_score_ ? 5 : 2)] + real(depth - 1) + ")";
    case 1:
      return "-" + real(depth - 1);
    case 2:
      return (below(2) == 0 ? "min(" : "max(") + real(depth - 1) + ", " + real(depth - 1) + ")";
    case 3:
      return "f[" + integer(depth - 1) + "]";
    case 4:
      return "float(" + integer(depth - 1) + ")";
    case 5:
      return "(" + boolean(depth - 2) + " ? " + real(depth - 1) + " : " + real(depth - 1) + ")";
    default:
      return "(" + real(depth - 1) + kInfix[below(kInfix.size())] + real(depth - 1) + ")";
  }
}

std::string MaskGrammar::boolean(int depth) {
  constexpr std::array kComparisons = {" < ", " <= ", " > ", " >= ", " == ", " != "};
  if (depth <= 0 && below(8) == 0) return below(2) == 0 ? "true" : "false";
  switch (depth <= 0 ? 9 : below(10)) {
    case 0:
      return "!(" + boolean(depth - 1) + ")";
    case 1:
    case 2:
      return "(" + boolean(depth - 1) + " && " + boolean(depth - 1) + ")";
    case 3:
      return "(" + boolean(depth - 1) + " || " + boolean(depth - 1) + ")";
    case 4:
      return "((" + boolean(depth - 1) + ") == (" + boolean(depth - 1) + "))";
    case 5:
      return real(depth - 1) + kComparisons[below(kComparisons.size())] + real(depth - 1);
    case 6:
      return "(" + boolean(depth - 2) + " ? " + boolean(depth - 1) + " : " + boolean(depth - 1) +
             ")";
    default:
      return integer(depth - 1) + kComparisons[below(kComparisons.size())] + integer(depth - 1);
  }
}

std::string MaskGrammar::any(int depth) {
  const uint32_t type = below(3);
  return type == 0 ? boolean(depth) : type == 1 ? integer(depth) : real(depth);
}

std::string MaskGrammar::text(bool is_score) {
  is_score_ = is_score;
  const int depth = 1 + static_cast<int>(below(kDepth));
  if (is_score) return below(2) == 0 ? kScores[below(kScores.size())] : real(depth);
  return below(2) == 0 ? kMasks[below(kMasks.size())] : boolean(depth);
}

std::string MaskGrammar::changed(const std::string& text, bool is_score) {
  is_score_ = is_score;
  const std::vector<Token> tokens = tokens_of(text);
  if (tokens.empty()) return this->text(is_score);
  const auto count = static_cast<uint32_t>(tokens.size());
  const uint32_t which = below(count);
  const Token& token = tokens[which];
  switch (below(8)) {
    case 0:  // another token instead
      return taken(text, token.at, token.text.size(), kTokens[below(kTokens.size())]);
    case 1:  // a token more
      return taken(text, token.at, 0, std::string(kTokens[below(kTokens.size())]) + " ");
    case 2:  // a token less
      return taken(text, token.at, token.text.size(), "");
    case 3:
      return joined(text);
    case 4: {  // a stretch of it twice, or elsewhere
      const Token& last = tokens[which + below(count - which)];
      const std::string part = text.substr(token.at, last.at + last.text.size() - token.at);
      return taken(text, tokens[below(count)].at, 0, part + " ");
    }
    default:
      break;
  }
  if (token.is("(")) {  // what stands in brackets
    const int end = after_bracket(tokens, static_cast<int>(which));
    if (end < 0) return text + ")";
    const size_t last = tokens[static_cast<size_t>(end) - 1].at;
    return taken(text, token.at, last + 1 - token.at, "(" + any(2) + ")");
  }
  return taken(text, token.at, token.text.size(), like(token.kind));
}

std::string MaskGrammar::joined(const std::string& text) {
  constexpr std::array kJoin = {" && ", " || ", " == ", " != "};
  constexpr std::array kSum = {" + ", " * ", " - ", " / "};
  const std::string other = is_score_ ? real(2) : boolean(2);
  return "(" + text + ")" + (is_score_ ? kSum : kJoin)[below(4)] + "(" + other + ")";
}

std::string MaskGrammar::like(mask::TokenKind kind) {
  constexpr uint32_t kNumSymbols = 25;
  if (kind == TokenKind::number) return number();
  if (kind == TokenKind::name) return below(4) == 0 ? real(2) : integer(2);
  return kTokens[below(kNumSymbols)];
}

}  // namespace pagoda::fuzz

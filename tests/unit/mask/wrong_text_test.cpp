// Wrong expressions, each with the sentence and the column that its writer reads.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "random_expr.h"
#include "src/mask/parse.h"

namespace pagoda::mask {
namespace {

struct Wrong {
  const char* text;
  int column;
  const char* sentence;
  bool is_score = false;
};

const Wrong kWrong[] = {
    {"", 1, "the expression is empty"},
    {"   ", 4, "the expression is empty"},
    {" \t\n ", 5, "the expression is empty"},
    {"q >=", 5, "expected a number, a name or '(', found the end of the text"},
    {"q >= k &&", 10, "expected a number, a name or '(', found the end of the text"},
    {">= k", 1, "expected a number, a name or '(', found '>='"},
    {"q k", 3, "expected an operator or the end of the text, found 'k'"},
    {"q >= k k", 8, "expected an operator or the end of the text, found 'k'"},
    {"q ? k", 6, "expected ':' after '?' and its first value, found the end of the text"},
    {"q < k ? q < 1", 14, "expected ':' after '?' and its first value, found the end of the text"},
    {"q < k ? : q < 1", 9, "expected a number, a name or '(', found ':'"},
    {"q < k ? q < 1 :", 16, "expected a number, a name or '(', found the end of the text"},
    {"(q >= k", 8, "expected ')' to close the '(' of column 1, found the end of the text"},
    {"q >= k)", 7, "expected an operator or the end of the text, found ')'"},
    {"((q >= k)", 10, "expected ')' to close the '(' of column 1, found the end of the text"},
    {"()", 2, "expected a number, a name or '(', found ')'"},
    {"q >= (k", 8, "expected ')' to close the '(' of column 6, found the end of the text"},
    {"a[q", 4, "expected ']' or ',' in the arguments of 'a', found the end of the text"},
    {"a[", 3, "expected a number, a name or '(', found the end of the text"},
    {"a[]", 3, "expected a number, a name or '(', found ']'"},
    {"a[q,]", 5, "expected a number, a name or '(', found ']'"},
    {"a q", 3, "expected '[' after the table 'a', found 'q'"},
    {"a == 0", 3, "expected '[' after the table 'a', found '=='"},
    {"a(q) == 0", 2, "expected '[' after the table 'a', found '('"},
    {"b[q] == 0", 1, "table 'b' has 2 dimensions, but 1 index is given"},
    {"a[q, k] == 0", 1, "table 'a' has 1 dimension, but 2 indices are given"},
    {"c[q, k] == 0", 1, "table 'c' has 3 dimensions, but 2 indices are given"},
    {"a[q < k] == 0", 3, "an index must be an integer, but this is a boolean"},
    {"a[1.5] == 0", 3, "an index must be an integer, but this is a float"},
    {"a[x] == 0", 3, "an index must be an integer, but this is a float"},
    {"a[q] = 0", 6,
     "expected an operator or the end of the text, found '='; equality is written '=='"},
    {"q = k", 3,
     "expected an operator or the end of the text, found '='; equality is written '=='"},
    {"q => k", 3,
     "expected an operator or the end of the text, found '='; equality is written '=='"},
    {"q =< k", 3,
     "expected an operator or the end of the text, found '='; equality is written '=='"},
    {"q & k", 3,
     "expected an operator or the end of the text, found '&'; conjunction is written '&&'"},
    {"q | k", 3,
     "expected an operator or the end of the text, found '|'; disjunction is written '||'"},
    {"q ^ k", 3, "expected an operator or the end of the text, found '^'"},
    {"q ~ k", 3, "expected an operator or the end of the text, found '~'"},
    {"q << 2 < k", 4, "expected a number, a name or '(', found '<'"},
    {"!q", 2, "'!' expects a boolean, but this is an integer"},
    {"!(q + k)", 2, "'!' expects a boolean, but this is an integer"},
    {"q && k", 1, "'&&' expects a boolean, but this is an integer"},
    {"q < k && k", 10, "'&&' expects a boolean, but this is an integer"},
    {"q < k || 1", 10, "'||' expects a boolean, but this is an integer"},
    {"q < k + (q < 1)", 9, "'+' expects a number, but this is a boolean"},
    {"-(q < k)", 2, "'-' expects a number, but this is a boolean"},
    {"abs(q < k)", 5, "'abs' expects a number, but this is a boolean"},
    {"abs()", 5, "expected a number, a name or '(', found ')'"},
    {"abs(q, k) < 1", 1, "'abs' takes 1 argument, not 2"},
    {"abs q", 5, "expected '(' after 'abs', found 'q'"},
    {"min(q) < 1", 1, "'min' takes 2 or more arguments, not 1"},
    {"min() < 1", 5, "expected a number, a name or '(', found ')'"},
    {"max(q, q < k) < 1", 8, "'max' expects a number, but this is a boolean"},
    {"min(q k)", 7, "expected ')' or ',' in the arguments of 'min', found 'k'"},
    {"sqrt(q < k) < 1", 6, "'sqrt' expects a float, but this is a boolean"},
    {"tanh(q) < 1.0", 1,
     "'tanh' is known in score expressions only; its last bit differs between machines, and a mask "
     "must not"},
    {"exp(x) < 2.0", 1,
     "'exp' is known in score expressions only; its last bit differs between machines, and a mask "
     "must not"},
    {"log(x) < 2.0", 1,
     "'log' is known in score expressions only; its last bit differs between machines, and a mask "
     "must not"},
    {"score < 1.0", 1,
     "'score' is known in score expressions only; a mask decides before there is one"},
    {"float(q < k) < 1", 7, "'float' expects an integer, but this is a boolean"},
    {"floor(q) < 1", 1,
     "unknown name 'floor'; functions are abs, min, max, float, sqrt, tanh, exp, log"},
    {"q / k < 1", 1, "'/' divides floats; write '//' for the floor division of integers"},
    {"x // 2 < k", 1, "'//' expects integers, but this is a float; '/' divides floats"},
    {"x % 2 == 0", 1, "'%' expects integers, but this is a float"},
    {"q // x < 1", 6, "'//' expects integers, but this is a float; '/' divides floats"},
    {"q < k < 3", 7, "comparisons do not chain; write a < b && b < c"},
    {"q == k == 3", 8, "comparisons do not chain; write a < b && b < c"},
    {"q == k != 3", 8, "comparisons do not chain; write a < b && b < c"},
    {"q >= 0 <= k", 8, "comparisons do not chain; write a < b && b < c"},
    {"q + k", 1, "a mask must be a boolean, but this is an integer"},
    {"q", 1, "a mask must be a boolean, but this is an integer"},
    {"1.5", 1, "a mask must be a boolean, but this is a float"},
    {"x", 1, "a mask must be a boolean, but this is a float"},
    {"q < k ? q : k", 1, "a mask must be a boolean, but this is an integer"},
    {"q ? 1 < 2 : 2 < 1", 1, "'?' expects a boolean before it, but this is an integer"},
    {"q < k ? q < 1 : 2", 17, "the two sides of ':' differ: a boolean and an integer"},
    {"q < k == 3", 10, "'==' compares a boolean with an integer"},
    {"3 == (q < k)", 6, "'==' compares an integer with a boolean"},
    {"window < k", 1,
     "unknown name 'window'; known are r, h, g, q, k, seq_len, query_len, n, m, x, a[], b[], c[], "
     "f[], e[]"},
    {"Q >= k", 1,
     "unknown name 'Q'; known are r, h, g, q, k, seq_len, query_len, n, m, x, a[], b[], c[], f[], "
     "e[]"},
    {"q >= k and", 11, "expected a number, a name or '(', found the end of the text"},
    {"or q", 1, "'or' is an operator, not an operand"},
    {"not", 4, "expected a number, a name or '(', found the end of the text"},
    {"9223372036854775808 > q", 1, "the integer 9223372036854775808 exceeds 64 bits"},
    {"q > -9223372036854775809", 5, "the integer -9223372036854775809 exceeds 64 bits"},
    {"1e39 < x", 1, "the number 1e39 is not representable as a 32-bit float"},
    {"12abc < q", 1, "'12abc' is neither a number nor a name"},
    {"1.5.2 < q", 4, "expected an operator or the end of the text, found '.2'"},
    {"1..2 < q", 3, "expected an operator or the end of the text, found '.2'"},
    {"0x10 < q", 1, "'0x10' is neither a number nor a name"},
    {"q >= k;", 7, "expected an operator or the end of the text, found ';'"},
    {"q >= k # causal", 8, "expected an operator or the end of the text, found '#'"},
    {"q >= 'k'", 6, "expected a number, a name or '(', found '''"},
    {"q >= $k", 6, "expected a number, a name or '(', found '$'"},
    {"q >= \xc3\xa9", 6, "expected a number, a name or '(', found the byte 0xc3"},
    {"q >=\n  k k", 10, "expected an operator or the end of the text, found 'k'"},
    {"+q < k", 1, "'+' needs an operand before it"},
    {"q + + k < 3", 5, "'+' needs an operand before it"},
    {"q * / k < 1", 5, "expected a number, a name or '(', found '/'"},
    {"q >= k, q < 3", 7, "expected an operator or the end of the text, found ','"},
    {"[q]", 1, "expected a number, a name or '(', found '['"},
    {"q[0] < 1", 2,
     "expected an operator or the end of the text, found '['; only declared tables have elements"},
    {"n[0] < 1", 2,
     "expected an operator or the end of the text, found '['; only declared tables have elements"},
    {"min < 1", 5, "expected '(' after 'min', found '<'"},
    {"true < false", 1, "'<' expects a number, but this is a boolean"},
    {"true + 1 < 2", 1, "'+' expects a number, but this is a boolean"},
    {"max(1, 2.5) % 2 == 0", 1, "'%' expects integers, but this is a float"},
    {"q >= k ?? k", 9, "expected a number, a name or '(', found '?'"},
    {"q : k", 3, "expected an operator or the end of the text, found ':'"},
    {". < q", 1, "expected a number, a name or '(', found '.'"},
    {"e[q, 1] == 0", 1, "table 'e' has 1 dimension, but 2 indices are given"},
    {"q < k", 1, "a score must be a number, but this is a boolean", true},
    {"score <", 8, "expected a number, a name or '(', found the end of the text", true},
    {"tanh(q < k)", 6, "'tanh' expects a float, but this is a boolean", true},
    {"scores + 1.0", 1,
     "unknown name 'scores'; known are r, h, g, q, k, seq_len, query_len, score, n, m, x, a[], "
     "b[], c[], f[], e[]",
     true},
    {"score + (q < k)", 9, "'+' expects a number, but this is a boolean", true},
    {"score % 2", 1, "'%' expects integers, but this is a float", true},
    {"tanh(score, 1.0)", 1, "'tanh' takes 1 argument, not 2", true},
};

std::string sentence_of(const Wrong& wrong, int* column) {
  try {
    if (wrong.is_score)
      parse_score(wrong.text, test_symbols());
    else
      parse_mask(wrong.text, test_symbols());
  } catch (const ExpressionError& error) {
    *column = error.column;
    EXPECT_EQ(error.status, PAGODA_INVALID_ARGUMENT);
    return error.sentence;
  }
  return "accepted";
}

TEST(WrongText, EachHasItsSentenceAndColumn) {
  std::set<std::string> texts;
  for (const Wrong& wrong : kWrong) {
    int column = 0;
    EXPECT_EQ(sentence_of(wrong, &column), wrong.sentence) << wrong.text;
    EXPECT_EQ(column, wrong.column) << wrong.text;
    texts.insert(wrong.text);
  }
  EXPECT_GE(texts.size(), 80u);
}

TEST(WrongText, PointsAtTheCharacter) {
  try {
    parse_mask("q >= k\n  && q - k", test_symbols());
    FAIL();
  } catch (const ExpressionError& error) {
    EXPECT_STREQ(error.what(),
                 "column 13: '&&' expects a boolean, but this is an integer\n"
                 "    && q - k\n"
                 "       ^");
  }
  const std::string longer = std::string(500, ' ') + "q = k" + std::string(500, ' ');
  try {
    parse_mask(longer, test_symbols());
    FAIL();
  } catch (const ExpressionError& error) {
    EXPECT_LT(std::string(error.what()).size(), 300u);
    EXPECT_EQ(error.column, 503);
  }
}

}  // namespace
}  // namespace pagoda::mask

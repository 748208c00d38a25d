// Expressions built by C++ operators give the text that the language prints itself.
#include <gtest/gtest.h>

#include <pagoda/mask.hpp>

#include "src/mask/parse.h"
#include "src/mask/print.h"

namespace pagoda {
namespace {

using namespace pagoda::expr;  // NOLINT: as a user writes it

const mask::Symbols& symbols() {
  static const mask::Symbols it = [] {
    mask::Symbols made;
    made.add_parameter("window", mask::Type::integer);
    made.add_parameter("cap", mask::Type::real);
    made.add_table("doc", mask::Type::integer, 2);
    made.add_table("slope", mask::Type::real, 1);
    return made;
  }();
  return it;
}

void expect_canonical(const Bool& built, const std::string& wanted) {
  EXPECT_EQ(built.text(), wanted);
  EXPECT_EQ(mask::print(mask::parse_mask(built.text(), symbols()), symbols()), wanted);
}

void expect_canonical(const Real& built, const std::string& wanted) {
  EXPECT_EQ(built.text(), wanted);
  EXPECT_EQ(mask::print(mask::parse_score(built.text(), symbols()), symbols()), wanted);
}

TEST(Operators, PrintAsTheLanguageDoes) {
  const Int window = int_parameter("window");
  const IntTable doc("doc");
  const Real cap = real_parameter("cap");
  const RealTable slope("slope");
  expect_canonical(q >= k && q - k < 1024, "q >= k && q - k < 1024");
  expect_canonical(q >= k && q - k < window && doc(r, q) == doc(r, k),
                   "q >= k && q - k < window && doc[r, q] == doc[r, k]");
  expect_canonical(!(q < k) || q - (k - 1) == -3, "!(q < k) || q - (k - 1) == -3");
  expect_canonical((q + k) * 2 % 3 != floor_divide(q, 64), "(q + k) * 2 % 3 != q // 64");
  expect_canonical((q < k) == (k < 5), "q < k == k < 5");
  expect_canonical((q == k) == (k == 5), "(q == k) == (k == 5)");
  expect_canonical(select(q < k, q, k) < select(h == 0, Int(1), min(q, 7)),
                   "(q < k ? q : k) < (h == 0 ? 1 : min(q, 7))");
  expect_canonical(select(select(q < k, q == 1, k == 1), q == 2, q == 3),
                   "(q < k ? q == 1 : k == 1) ? q == 2 : q == 3");
  expect_canonical(q - 0.5 < sqrt(k) / 2, "float(q) - 0.5 < sqrt(float(k)) / 2.0");
  expect_canonical(-q < -Int(5) || -Int(-5) < -(-k), "-q < -(5) || -(-5) < --k");
  expect_canonical(cap * tanh(score / cap), "cap * tanh(score / cap)");
  expect_canonical(score + slope(h) * (k - q), "score + slope[h] * float(k - q)");
  expect_canonical(score - 1e-20, "score - 1e-20");
  expect_canonical(Bool(true) || !Bool(false), "true || !false");
}

}  // namespace
}  // namespace pagoda

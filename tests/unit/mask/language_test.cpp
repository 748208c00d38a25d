// Text to expression and back; limits; the meaning of names.
#include <gtest/gtest.h>

#include "random_expr.h"
#include "src/mask/evaluate.h"
#include "src/mask/gallery.h"
#include "src/mask/parse.h"
#include "src/mask/print.h"

namespace pagoda::mask {
namespace {

TEST(Language, PrintsWhatItParses) {
  for (uint64_t seed = 0; seed < 50'000; ++seed) {
    RandomExpr random(seed);
    const Expr expr = random.mask(static_cast<int>(random.number(1, 30)));
    const std::string text = print(expr, test_symbols());
    ASSERT_EQ(parse_mask(text, test_symbols()), expr) << "seed " << seed << ": " << text;
  }
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    RandomExpr random(seed, true);
    const Expr expr = random.score(static_cast<int>(random.number(1, 30)));
    const std::string text = print(expr, test_symbols());
    ASSERT_EQ(parse_score(text, test_symbols()), expr) << "seed " << seed << ": " << text;
  }
}

TEST(Language, PrintsTheGalleryAsItIsWritten) {
  for (const GalleryMask& mask : gallery())
    EXPECT_EQ(print(parse_mask(mask.text, gallery_symbols()), gallery_symbols()), mask.text);
}

TEST(Language, KnowsOtherSpellings) {
  const auto same = [](const char* a, const char* b) {
    EXPECT_EQ(parse_mask(a, test_symbols()), parse_mask(b, test_symbols())) << a;
  };
  same("query >= key and not (head == 0)", "q >= k && !(h == 0)");
  same("request == 1 or kv_head == 2", "r == 1 || g == 2");
  same("min(q, k, 3) < 2", "min(min(q, k), 3) < 2");
  same(" \t\n q>=k\r\n", "q >= k");
  same("q < 1.5", "float(q) < 1.5");
  same("float(x) < q", "x < float(q)");
  same(".5 < x", "0.5 < x");
  same("((q)) < (k)", "q < k");
}

// By C's rules, and not left to right.
TEST(Language, BindsAsInC) {
  const auto value = [](const char* text) {
    const std::string mask = std::string(text) + " == n";
    const Expr expr = parse_mask(mask, test_symbols());
    Bindings bindings(test_symbols());
    std::vector<Value> scratch(expr.nodes.size());
    for (int64_t n = -100; n <= 100; ++n) {
      bindings.set("n", n);
      if (evaluate(expr, bindings, {}, scratch.data()).i != 0) return n;
    }
    return int64_t{9999};
  };
  EXPECT_EQ(value("2 + 3 * 4"), 14);
  EXPECT_EQ(value("20 - 3 - 4"), 13);
  EXPECT_EQ(value("100 // 7 % 4"), 2);
  EXPECT_EQ(value("-7 // 2"), -4);
  EXPECT_EQ(value("-7 % 3"), 2);
  EXPECT_EQ(value("-(7 // 2)"), -3);
  EXPECT_EQ(value("(1 < 2 ? 5 : 2 < 1 ? 6 : 7)"), 5);
  EXPECT_EQ(value("(true || false && false ? 1 : 0)"), 1);
  EXPECT_EQ(value("abs(3 - 10) + max(1, 2, 9) - min(4, -4)"), 20);
  EXPECT_EQ(value("3 - -2"), 5);
}

TEST(Language, RefusesWhatIsTooLarge) {
  std::string chain = "q";
  for (int i = 0; i < kMaxNodes; ++i) chain += "+q";
  std::string nested(1000, '(');
  std::string minus(5000, '-');
  std::string wide = "q == 0";
  for (int i = 0; i < 250; ++i) wide += " || q == 1";
  for (const std::string& text :
       {chain + "<k", nested + "q", minus + "q<k", std::string(20000, ' ')})
    try {
      parse_mask(text, test_symbols());
      ADD_FAILURE() << text.substr(0, 20);
    } catch (const ExpressionError& error) {
      EXPECT_EQ(error.status, PAGODA_OUT_OF_LIMITS) << error.what();
    }
  EXPECT_EQ(parse_mask(wide, test_symbols()).nodes.size(), 3u + 250 * 4);
}

TEST(Symbols, RefusesBadNames) {
  Symbols symbols;
  symbols.add_parameter("window", Type::integer);
  for (const char* name : {"", "1a", "a-b", "q", "min", "seq_len", "window", "\xc3\xa9"})
    EXPECT_THROW(symbols.add_table(name, Type::integer, 1), Failure) << name;
  EXPECT_THROW(symbols.add_table("t", Type::integer, 4), Failure);
  EXPECT_THROW(symbols.add_table("t", Type::boolean, 1), Failure);
  EXPECT_THROW(symbols.add_parameter(std::string(65, 'a'), Type::real), Failure);
}

TEST(Bindings, RefusesWhatDoesNotFitTheDeclaration) {
  Bindings bindings(test_symbols());
  const int32_t ints[6] = {};
  const float reals[6] = {};
  EXPECT_THROW(bindings.set("nothing", int64_t{1}), Failure);
  EXPECT_THROW(bindings.set("n", 1.0f), Failure);
  EXPECT_THROW(bindings.set_table("a", reals, {6}), Failure);
  EXPECT_THROW(bindings.set_table("a", ints, {2, 3}), Failure);
  EXPECT_THROW(bindings.set_table("a", ints, {-1}), Failure);
  EXPECT_THROW(bindings.set_table("b", ints, {int64_t{1} << 30, int64_t{1} << 30}), Failure);
  EXPECT_THROW(bindings.set_table("a", static_cast<const int32_t*>(nullptr), {1}), Failure);
  const uint64_t generation = bindings.generation();
  bindings.set_table("a", ints, {6});
  EXPECT_GT(bindings.generation(), generation);
}

// Every index out of range gives `outside`, whatever the others are.
TEST(Bindings, LookupsOutOfRangeHaveAValue) {
  Bindings bindings(test_symbols());
  const int32_t numbers[6] = {10, 11, 12, 13, 14, 15};
  bindings.set_table("b", numbers, {2, 3}, -7);
  const auto value = [&](int64_t i, int64_t j) {
    const int64_t indices[kMaxArgs] = {i, j, 0};
    return bindings.table(1).lookup(test_symbols().tables()[1], indices).i;
  };
  EXPECT_EQ(value(1, 2), 15);
  for (int64_t bad : {int64_t{-1}, int64_t{3}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(value(0, bad), -7);
    EXPECT_EQ(value(bad, 0), -7);
  }
  EXPECT_EQ(value(2, 0), -7);
}

}  // namespace
}  // namespace pagoda::mask

// expect(): the sentence, the status and the caller's place.
#include "src/core/error.h"

#include <gtest/gtest.h>

#include <cstring>

namespace pagoda {
namespace {

struct CountsPrints {
  int* prints;
};
std::ostream& operator<<(std::ostream& out, const CountsPrints& it) {
  ++*it.prints;
  return out;
}

TEST(Expect, JoinsItsPartsAndKnowsItsPlace) {
  try {
    expect(false, PAGODA_OUT_OF_LIMITS, "head_dim ", 17, " of ", 2.5);
    FAIL() << "it did not throw";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, PAGODA_OUT_OF_LIMITS);
    EXPECT_STREQ(failure.what(), "head_dim 17 of 2.5");
    EXPECT_NE(std::strstr(failure.where.file, "error_test.cpp"), nullptr);
    EXPECT_GT(failure.where.line, 0);
  }
}

TEST(Expect, DoesNotTouchItsPartsWhereAllIsWell) {
  int prints = 0;
  expect(true, PAGODA_INTERNAL, CountsPrints{&prints});
  EXPECT_EQ(prints, 0);
}

}  // namespace
}  // namespace pagoda

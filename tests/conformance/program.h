// The main function of a test program with options of its own beside GoogleTest's.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>

namespace pagoda::conformance {

// read_option(text): whether it is an option of the program, which it then keeps.
template <class ReadOption>
int run_tests(int argc, char** argv, const char* program, const ReadOption& read_option) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i)
    if (!read_option(argv[i])) {
      std::fprintf(stderr, "%s does not know %s\n", program, argv[i]);
      return 2;
    }
  return RUN_ALL_TESTS();
}

}  // namespace pagoda::conformance

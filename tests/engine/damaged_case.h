// One damaged file: how it is made, and the error that must be the answer.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/error.h"

namespace pagoda::engine {

inline const char* kind_name(ErrorKind kind) {
  constexpr const char* kNames[] = {"not found", "io",    "wrong file type", "truncated",
                                    "malformed", "limit", "unsupported",     "invalid argument",
                                    "template"};
  return kNames[static_cast<int>(kind)];
}

// Runs `open`, which must throw an Error of this kind whose sentence holds `part`.
inline void expect_error(const std::function<void()>& open, ErrorKind kind,
                         const std::string& part) {
  try {
    open();
    ADD_FAILURE() << "accepted; expected: " << part;
  } catch (const Error& error) {
    EXPECT_STREQ(kind_name(error.kind()), kind_name(kind)) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
        << "says: " << error.what() << "\nexpected: " << part;
  }
}

// The cases' names as GoogleTest wants them.
inline std::string test_name_of(const std::string& title) {
  std::string name;
  bool upper = true;
  for (char c : title) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      upper = true;
      continue;
    }
    name += upper ? static_cast<char>(std::toupper(c)) : c;
    upper = false;
  }
  return name;
}

}  // namespace pagoda::engine

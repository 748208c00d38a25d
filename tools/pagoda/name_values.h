// `--set window=1024`: values for the names of an expression.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::cli {

struct NameValue {
  std::string name;
  int64_t value;
};

// Errors: kInvalidArgument for what is not a name, '=' and an integer.
std::vector<NameValue> parse_name_values(const std::vector<std::string>& texts);

}  // namespace pagoda::cli

// "Did you mean": the known word nearest to a mistyped one.
#pragma once

#include <string>
#include <vector>

namespace pagoda::cli {

// Changes of one character that turn a into b.
size_t edit_distance(const std::string& a, const std::string& b);

// Empty if nothing is near.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

}  // namespace pagoda::cli

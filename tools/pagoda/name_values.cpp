#include "tools/pagoda/name_values.h"

#include <charconv>

#include "engine/error.h"

namespace pagoda::cli {

std::vector<NameValue> parse_name_values(const std::vector<std::string>& texts) {
  std::vector<NameValue> values;
  for (const std::string& text : texts) {
    const size_t at = text.find('=');
    const char* const end = text.data() + text.size();
    int64_t value = 0;
    const bool is_pair = at != std::string::npos && at > 0 && at + 1 < text.size() &&
                         std::from_chars(text.data() + at + 1, end, value).ptr == end;
    engine::require(is_pair, engine::ErrorKind::kInvalidArgument, "\"", text,
                    "\" sets nothing; write a name, '=' and an integer, as in window=1024");
    values.push_back({text.substr(0, at), value});
  }
  return values;
}

}  // namespace pagoda::cli

#include "engine/sample/stop_strings.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"

namespace pagoda::engine {

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (const std::string& string : strings_)
    require(!string.empty(), ErrorKind::kInvalidArgument, "a stop string is empty");
}

std::string StopStrings::add(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t end = std::string::npos;
  for (const std::string& string : strings_) end = std::min(end, held_.find(string));
  stopped_ = end != std::string::npos;

  size_t kept = 0;  // the longest end of the text that begins a stop string
  for (const std::string& string : strings_) {
    size_t length = std::min(string.size() - 1, held_.size());
    while (length > kept && !held_.ends_with(std::string_view(string).substr(0, length))) length--;
    kept = std::max(kept, length);
  }
  const size_t shown = stopped_ ? end : held_.size() - kept;
  std::string out = held_.substr(0, shown);
  held_.erase(0, stopped_ ? std::string::npos : shown);
  return out;
}

std::string StopStrings::finish() {
  return std::exchange(held_, {});
}

}  // namespace pagoda::engine

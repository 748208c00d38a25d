// Ends a text at the first of some strings. Text is handed on as early as it can no longer belong
// to one of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pagoda::engine {

class StopStrings {
 public:
  // Errors: kInvalidArgument for an empty string.
  explicit StopStrings(std::vector<std::string> strings);

  // Returns what may be shown now that `text` has followed; nothing once stopped.
  std::string add(std::string_view text);

  // What was held back, when the text ends without a stop string.
  std::string finish();

  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;  // a proper beginning of one of them
  bool stopped_ = false;
};

}  // namespace pagoda::engine

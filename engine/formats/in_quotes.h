// Names that come from files, made safe to print: a hostile file shall not put escape codes,
// newlines or pages of text into a message.
#pragma once

#include <string>
#include <string_view>

namespace pagoda::engine {

// 'name' with everything but printable ASCII as '?', cut after 80 characters.
inline std::string in_quotes(std::string_view name) {
  constexpr size_t max_shown = 80;
  std::string text = "'";
  for (char c : name.substr(0, max_shown)) text += (c >= 0x20 && c < 0x7f) ? c : '?';
  if (name.size() > max_shown) text += "...";
  return text + "'";
}

}  // namespace pagoda::engine

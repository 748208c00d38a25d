// See normalize.h.
#include "engine/tokenizer/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "engine/error.h"
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {
namespace {

std::string compose(std::string_view valid) {
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  require(length >= 0, ErrorKind::kLimit, "a text of ", valid.size(),
          " bytes cannot be normalised: ", utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(composed), static_cast<size_t>(length)};
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  std::string normalized;
  while (!text.empty()) {
    const size_t valid = valid_prefix_length(text);
    if (valid > 0) normalized += compose(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    normalized += text.front();
    text.remove_prefix(1);
  }
  return normalized;
}

bool is_surely_nfc(std::string_view text) {
  // Every character below U+0300 is composed already and combines with nothing; U+0300 is CC 80.
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

}  // namespace pagoda::engine

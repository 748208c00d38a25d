// Unicode composition (NFC) of text that may hold bytes which are no UTF-8; those stay as they are.
#pragma once

#include <string>
#include <string_view>

namespace pagoda::engine {

std::string normalize_nfc(std::string_view text);

// True only if normalize_nfc would change nothing; a cheap test that holds for most Latin text.
bool is_surely_nfc(std::string_view text);

}  // namespace pagoda::engine

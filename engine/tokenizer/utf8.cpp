// See utf8.h. Ranges of second bytes are those of table 3-7 of the Unicode standard.
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {
namespace {

struct LeadByte {
  size_t length;  // 0: no character begins so
  uint8_t second_min, second_max;
};

LeadByte describe(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const LeadByte lead = describe(byte(0));
  if (lead.length == 0) return {Utf8State::kInvalid, 1};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {Utf8State::kIncomplete, text.size()};
    const uint8_t low = i == 1 ? lead.second_min : 0x80;
    const uint8_t high = i == 1 ? lead.second_max : 0xBF;
    if (byte(i) < low || byte(i) > high) return {Utf8State::kInvalid, 1};
  }
  return {Utf8State::kComplete, lead.length};
}

size_t valid_prefix_length(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    if (static_cast<uint8_t>(text[length]) < 0x80) {
      ++length;
      continue;
    }
    const Utf8Character character = first_character(text.substr(length));
    if (character.state != Utf8State::kComplete) break;
    length += character.length;
  }
  return length;
}

uint32_t first_code_point(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return lead;
  const size_t length = describe(lead).length;
  uint32_t code_point = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i)
    code_point = code_point << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
  return code_point;
}

void append_code_point(std::string& text, uint32_t c) {
  const auto put = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace pagoda::engine

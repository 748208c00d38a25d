// See python_text.h.
#include "engine/chat/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/error.h"
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine::jinja {
namespace {

// str.isspace() of one character.
bool is_space(uint32_t c) {
  if (c <= 0x20) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t length_of_first(std::string_view text) {
  const Utf8Character character = first_character(text);
  return character.state == Utf8State::kComplete ? character.length : 1;
}

// Length of the last character: back over at most three continuation bytes.
size_t length_of_last(std::string_view text) {
  size_t length = 1;
  while (length < 4 && length < text.size() &&
         (static_cast<uint8_t>(text[text.size() - length]) & 0xC0) == 0x80)
    ++length;
  return length_of_first(text.substr(text.size() - length)) == length ? length : 1;
}

uint32_t code_point_of(std::string_view character) {
  if (first_character(character).state != Utf8State::kComplete) return 0xFFFD;
  return first_code_point(character);
}

template <class Drop>
std::string_view strip_left_if(std::string_view text, Drop drop) {
  while (!text.empty()) {
    const size_t length = length_of_first(text);
    if (!drop(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  return text;
}

template <class Drop>
std::string_view strip_right_if(std::string_view text, Drop drop) {
  while (!text.empty()) {
    const size_t length = length_of_last(text);
    if (!drop(text.substr(text.size() - length))) break;
    text.remove_suffix(length);
  }
  return text;
}

bool is_white(std::string_view character) {
  return is_space(code_point_of(character));
}

template <class Change>
std::string map_characters(std::string_view text, Change change) {
  std::string changed;
  for (std::string_view character : characters_of(text)) {
    if (first_character(character).state == Utf8State::kComplete)
      append_code_point(changed, static_cast<uint32_t>(change(
                                     static_cast<utf8proc_int32_t>(first_code_point(character)))));
    else
      changed += character;
  }
  return changed;
}

// repr(float): the shortest digits that read back the same, with an exponent below 1e-4 and from
// 1e16 on.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const double size = std::fabs(value);
  const bool plain = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value, format);
  std::string text(buffer, result.ptr);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

// repr(str)
std::string quoted_text(std::string_view text) {
  const bool use_double =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = use_double ? '"' : '\'';
  std::string quoted(1, quote);
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == quote || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      quoted += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      constexpr const char* hex = "0123456789abcdef";
      quoted += std::string("\\x") + hex[byte >> 4] + hex[byte & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + quote;
}

// repr(value)
std::string repr(const Value& value) {
  if (value.is_string()) return quoted_text(value.as_string());
  if (value.is_list()) {
    std::string text = "[";
    for (const Value& item : value.as_list()) text += (text.size() > 1 ? ", " : "") + repr(item);
    return text + "]";
  }
  if (value.is_dict()) {
    std::string text = "{";
    for (const auto& [key, item] : value.as_dict().entries)
      text += (text.size() > 1 ? ", " : "") + quoted_text(key) + ": " + repr(item);
    return text + "}";
  }
  return text_of(value);
}

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    constexpr std::string_view plain = "\"\\\n\r\t\b\f", escaped = "\"\\nrtbf";
    if (const size_t at = plain.find(c); at != std::string_view::npos) {
      quoted += '\\';
      quoted += escaped[at];
    } else if (static_cast<uint8_t>(c) < 0x20) {
      constexpr const char* hex = "0123456789abcdef";
      quoted += std::string("\\u00") + hex[c >> 4] + hex[c & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

class JsonWriter {
 public:
  explicit JsonWriter(int indent) : indent_(indent) {}

  std::string write(const Value& value) {
    if (value.is_string()) return json_string(value.as_string());
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.is_true() ? "true" : "false";
    if (value.is_float() && !std::isfinite(value.as_float()))
      return std::isnan(value.as_float()) ? "NaN" : value.as_float() < 0 ? "-Infinity" : "Infinity";
    if (value.is_number()) return text_of(value);
    if (value.is_list()) return write_list(value.as_list());
    if (value.is_dict() && !value.as_dict().is_namespace) return write_dict(value.as_dict());
    fail(ErrorKind::kTemplate, "a value of type ", value.type_name(), " cannot be written as JSON");
  }

 private:
  std::string line_start() const {
    if (indent_ < 0) return "";
    return "\n" + std::string(static_cast<size_t>(indent_ * depth_), ' ');
  }

  const char* comma() const { return indent_ < 0 ? ", " : ","; }

  std::string write_list(const List& list) {
    if (list.empty()) return "[]";
    ++depth_;
    std::string text = "[";
    for (const Value& item : list)
      text += (text.size() > 1 ? comma() : "") + line_start() + write(item);
    --depth_;
    return text + line_start() + "]";
  }

  std::string write_dict(const Dict& dict) {
    if (dict.entries.empty()) return "{}";
    ++depth_;
    std::string text = "{";
    for (const auto& [key, item] : dict.entries)
      text +=
          (text.size() > 1 ? comma() : "") + line_start() + json_string(key) + ": " + write(item);
    --depth_;
    return text + line_start() + "}";
  }

  int indent_;
  int depth_ = 0;
};

}  // namespace

std::string_view strip_left(std::string_view text) {
  return strip_left_if(text, is_white);
}
std::string_view strip_right(std::string_view text) {
  return strip_right_if(text, is_white);
}

std::string_view strip_left(std::string_view text, std::string_view characters) {
  return strip_left_if(
      text, [&](std::string_view c) { return characters.find(c) != std::string_view::npos; });
}

std::string_view strip_right(std::string_view text, std::string_view characters) {
  return strip_right_if(
      text, [&](std::string_view c) { return characters.find(c) != std::string_view::npos; });
}

std::vector<std::string_view> characters_of(std::string_view text) {
  std::vector<std::string_view> characters;
  while (!text.empty()) {
    characters.push_back(text.substr(0, length_of_first(text)));
    text.remove_prefix(characters.back().size());
  }
  return characters;
}

std::string to_upper(std::string_view text) {
  return map_characters(text, utf8proc_toupper);
}
std::string to_lower(std::string_view text) {
  return map_characters(text, utf8proc_tolower);
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return "";
  const size_t first = length_of_first(text);
  return to_upper(text.substr(0, first)) + to_lower(text.substr(first));
}

std::string title(std::string_view text) {
  bool in_word = false;
  return map_characters(text, [&](utf8proc_int32_t c) {
    const bool has_case = utf8proc_toupper(c) != utf8proc_tolower(c);
    const utf8proc_int32_t changed = in_word ? utf8proc_tolower(c) : utf8proc_totitle(c);
    in_word = has_case;
    return changed;
  });
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        int64_t at_most) {
  std::string replaced;
  if (from.empty()) return std::string(text);
  while (at_most-- != 0) {
    const size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    replaced += text.substr(0, at);
    replaced += to;
    text.remove_prefix(at + from.size());
  }
  return replaced += text;
}

std::string text_of(const Value& value) {
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.is_true() ? "True" : "False";
  if (value.is_int()) return std::to_string(value.as_int());
  if (value.is_float()) return float_text(value.as_float());
  if (value.is_string()) return value.as_string();
  if (value.is_callable()) return "<function>";
  return repr(value);
}

std::string json_of(const Value& value, int indent) {
  return JsonWriter(indent).write(value);
}

}  // namespace pagoda::engine::jinja

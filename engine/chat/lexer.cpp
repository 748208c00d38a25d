// See lexer.h.
#include "engine/chat/lexer.h"

#include <algorithm>
#include <charconv>

#include "engine/chat/python_text.h"
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine::jinja {
namespace {

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Longer operators first: the first that matches is taken.
constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*",
                                           "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                           "]",  "{",  "}",  ".",  ",",  ":",  "|"};

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) lex_text();
    add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(position_); }

  void advance(size_t count) {
    for (const size_t end = position_ + count; position_ < end; ++position_) {
      const char c = source_[position_];
      if (c == '\n') {
        ++place_.line;
        place_.column = 1;
      } else if ((c & 0xC0) != 0x80) {  // a character counts once
        ++place_.column;
      }
    }
  }

  void add(TokenType type, std::string text) { tokens_.push_back({type, std::move(text), place_}); }

  // The text up to the next tag, and the tag.
  void lex_text() {
    size_t tag = position_;
    do {
      tag = source_.find('{', tag);
    } while (tag != std::string::npos && !is_tag(tag) && ++tag < source_.size());
    if (tag == std::string::npos || tag >= source_.size()) {
      add(TokenType::kText, std::string(rest()));
      return advance(rest().size());
    }
    const std::string_view text = rest().substr(0, tag - position_);
    const std::string kept(text_before_tag(text, tag));
    if (!kept.empty()) add(TokenType::kText, kept);
    advance(text.size());
    lex_tag();
  }

  bool is_tag(size_t at) const {
    const char next = at + 1 < source_.size() ? source_[at + 1] : ' ';
    return next == '{' || next == '%' || next == '#';
  }

  // What is left of `text` in front of the tag at `tag`.
  std::string_view text_before_tag(std::string_view text, size_t tag) const {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    if (sign == '-') return strip_right(text);
    if (sign == '+' || source_[tag + 1] == '{') return text;
    const size_t line = text.rfind('\n') + 1;  // 0 when the text has no line end
    if (line == 0 && !at_line_start_) return text;
    const std::string_view blanks = text.substr(line);
    return strip_right(blanks).empty() ? text.substr(0, line) : text;
  }

  void lex_tag() {
    const char kind = source_[position_ + 1];
    if (kind == '#') return lex_comment();
    const bool is_output = kind == '{';
    add(is_output ? TokenType::kOutputBegin : TokenType::kBlockBegin, "");
    const Place opened = place_;
    advance(2);
    if (!rest().empty() && (rest()[0] == '-' || rest()[0] == '+')) advance(1);
    while (!lex_tag_end(is_output)) {
      if (rest().empty()) fail_at(opened, "this tag is not closed");
      lex_inside();
    }
  }

  void lex_comment() {
    const bool has_sign = rest().size() > 2 && (rest()[2] == '-' || rest()[2] == '+');
    const size_t begin = has_sign ? 3 : 2;
    const size_t end = rest().find("#}", begin);
    if (end == std::string_view::npos) fail_at(place_, "this comment is not closed");
    const char sign = end > begin ? rest()[end - 1] : ' ';
    advance(end + 2);
    skip_after_tag(sign, true);
  }

  // Drops what the tag that has just ended takes with it.
  void skip_after_tag(char sign, bool is_block) {
    if (sign == '-') {
      advance(rest().size() - strip_left(rest()).size());
    } else if (is_block && sign != '+' && rest().starts_with('\n')) {
      advance(1);
    }
    at_line_start_ = position_ > 0 && source_[position_ - 1] == '\n';
  }

  // At the end of the tag: consumes it and returns true.
  bool lex_tag_end(bool is_output) {
    if (!brackets_.empty()) return false;  // "}}" may close two dicts
    const std::string_view end = is_output ? "}}" : "%}";
    const std::string_view here = rest();
    const bool has_sign = !here.empty() && (here[0] == '-' || (here[0] == '+' && !is_output));
    if (here.substr(has_sign ? 1 : 0, 2) != end) return false;
    add(is_output ? TokenType::kOutputEnd : TokenType::kBlockEnd, "");
    const char sign = has_sign ? here[0] : ' ';
    advance(has_sign ? 3 : 2);
    skip_after_tag(sign, !is_output);
    return true;
  }

  void lex_inside() {
    const char c = rest()[0];
    if (is_blank(c)) return advance(1);
    if (is_name_start(c)) return lex_name();
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    for (std::string_view op : kOperators) {
      if (!rest().starts_with(op)) continue;
      track_bracket(op[0]);
      add(TokenType::kOperator, std::string(op));
      return advance(op.size());
    }
    fail_at(place_, "unexpected character inside a tag");
  }

  void track_bracket(char c) {
    if (c == '(' || c == '[' || c == '{') brackets_ += c;
    if (c != ')' && c != ']' && c != '}') return;
    const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (brackets_.empty() || brackets_.back() != open)
      fail_at(place_, "'", c, "' closes nothing that is open");
    brackets_.pop_back();
  }

  void lex_name() {
    size_t length = 1;
    while (length < rest().size() && (is_name_start(rest()[length]) || is_digit(rest()[length])))
      ++length;
    add(TokenType::kName, std::string(rest().substr(0, length)));
    advance(length);
  }

  // Digits with underscores between them, a fraction and an exponent.
  void lex_number() {
    const auto digits_from = [&](size_t at) {
      while (at < rest().size() && (is_digit(rest()[at]) || rest()[at] == '_')) ++at;
      return at;
    };
    const auto is_digit_at = [&](size_t at) { return at < rest().size() && is_digit(rest()[at]); };
    size_t length = digits_from(0);
    TokenType type = TokenType::kInteger;
    if (rest().substr(length).starts_with('.') && is_digit_at(length + 1)) {
      type = TokenType::kFloat;
      length = digits_from(length + 1);
    }
    if (length < rest().size() && (rest()[length] == 'e' || rest()[length] == 'E')) {
      const bool has_sign =
          length + 1 < rest().size() && (rest()[length + 1] == '-' || rest()[length + 1] == '+');
      const size_t exponent = length + (has_sign ? 2 : 1);
      if (is_digit_at(exponent)) {
        type = TokenType::kFloat;
        length = digits_from(exponent);
      }
    }
    std::string text(rest().substr(0, length));
    std::erase(text, '_');
    add(type, std::move(text));
    advance(length);
  }

  void lex_string() {
    const char quote = rest()[0];
    size_t end = 1;
    while (end < rest().size() && rest()[end] != quote) end += rest()[end] == '\\' ? 2 : 1;
    if (end >= rest().size()) fail_at(place_, "this string is not closed");
    add(TokenType::kString, unescape(rest().substr(1, end - 1)));
    advance(end + 1);
  }

  std::string unescape(std::string_view raw) const {
    std::string text;
    while (!raw.empty()) {
      const size_t backslash = raw.find('\\');
      text += raw.substr(0, backslash);
      if (backslash == std::string_view::npos) break;
      raw.remove_prefix(backslash + 1);
      raw.remove_prefix(append_escape(raw, text));
    }
    return text;
  }

  // Appends what the escape behind a backslash means and returns its length. Unknown ones stay as
  // they are, backslash included, as in Python.
  size_t append_escape(std::string_view raw, std::string& text) const {
    constexpr std::string_view from = "ntrbfav0\\'\"", to("\n\t\r\b\f\a\v\0\\'\"", 11);
    if (raw[0] == '\n') return 1;  // a continued line
    if (const size_t at = from.find(raw[0]); at != std::string_view::npos) {
      text += to[at];
      return 1;
    }
    const size_t digits = raw[0] == 'x' ? 2 : raw[0] == 'u' ? 4 : raw[0] == 'U' ? 8 : 0;
    if (digits == 0) {
      text += '\\';
      return 0;
    }
    uint32_t code_point = 0;
    const char* end = raw.data() + std::min(raw.size(), digits + 1);
    const auto [stop, error] = std::from_chars(raw.data() + 1, end, code_point, 16);
    const bool is_character = code_point < 0xD800 || (code_point > 0xDFFF && code_point < 0x110000);
    if (error != std::errc() || stop != raw.data() + digits + 1 || !is_character)
      fail_at(place_, "this string has an escape that is no character");
    append_code_point(text, code_point);
    return digits + 1;
  }

  std::string source_;
  size_t position_ = 0;
  Place place_;
  bool at_line_start_ = true;  // whether the last tag ended a line, or nothing came before
  std::string brackets_;       // those open inside the current tag
  std::vector<Token> tokens_;
};

// All line ends as \n, and without one at the very end.
std::string normalize_lines(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(normalize_lines(source)).run();
}

}  // namespace pagoda::engine::jinja

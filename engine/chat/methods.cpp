// The methods of texts and dicts that templates call, and the global functions.
#include <algorithm>
#include <array>

#include "engine/chat/builtins.h"
#include "engine/chat/python_text.h"

namespace pagoda::engine::jinja {
namespace {

constexpr std::string_view kTextMethods[] = {
    "startswith", "endswith",   "strip", "lstrip",  "rstrip", "split", "upper",
    "lower",      "capitalize", "title", "replace", "find",   "count", "join"};
constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get"};
constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

const std::string& text_argument(const CallArguments& arguments, size_t index) {
  const Value& value = arguments.get(index, "");
  if (!value.is_string())
    fail_at(arguments.place, "a text is needed here, not a value of type ", value.type_name());
  return value.as_string();
}

// For startswith and endswith, which also take a list of candidates.
template <class Matches>
bool any_of_texts(const CallArguments& arguments, Matches matches) {
  const Value& value = arguments.get(0, "");
  if (!value.is_list()) return matches(text_argument(arguments, 0));
  return std::any_of(value.as_list().begin(), value.as_list().end(), [&](const Value& item) {
    return item.is_string() && matches(item.as_string());
  });
}

Value strip(std::string_view text, const CallArguments& arguments, bool left, bool right) {
  const Value& set = arguments.get(0, "");
  if (set.is_undefined() || set.is_none()) {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
    return std::string(text);
  }
  const std::string& characters = text_argument(arguments, 0);
  if (left) text = strip_left(text, characters);
  if (right) text = strip_right(text, characters);
  return std::string(text);
}

// The argument that bounds the number of splits or replacements; -1: none.
int64_t at_most(const CallArguments& arguments, size_t index, std::string_view name) {
  const Value& value = arguments.get(index, name);
  if (value.is_undefined() || value.is_none()) return -1;
  if (!value.is_int()) fail_at(arguments.place, "an integer is needed here");
  return value.as_int();
}

Value split_at_spaces(std::string_view text, int64_t limit) {
  List parts;
  text = strip_left(text);
  while (!text.empty()) {
    size_t length = 0;  // up to the next white space
    for (std::string_view character : characters_of(text)) {
      if (strip_left(character).empty()) break;
      length += character.size();
    }
    if (limit-- == 0) length = strip_right(text).size();
    parts.emplace_back(std::string(text.substr(0, length)));
    text = strip_left(text.substr(length));
  }
  return parts;
}

Value split(std::string_view text, const CallArguments& arguments) {
  int64_t limit = at_most(arguments, 1, "maxsplit");
  const Value& separator = arguments.get(0, "sep");
  if (separator.is_undefined() || separator.is_none()) return split_at_spaces(text, limit);
  const std::string& between = text_argument(arguments, 0);
  if (between.empty()) fail_at(arguments.place, "'split' needs a separator that is not empty");
  List parts;
  while (limit-- != 0) {
    const size_t at = text.find(between);
    if (at == std::string_view::npos) break;
    parts.emplace_back(std::string(text.substr(0, at)));
    text.remove_prefix(at + between.size());
  }
  parts.emplace_back(std::string(text));
  return checked_list(std::move(parts), arguments.place);
}

Value replace(std::string_view text, const CallArguments& arguments) {
  const std::string& from = text_argument(arguments, 0);
  const std::string& to = text_argument(arguments, 1);
  if (from.empty()) fail_at(arguments.place, "'replace' needs a text that is not empty");
  const size_t growth = to.size() > from.size() ? text.size() / from.size() * to.size() : 0;
  if (growth > kMaxValueBytes && replace_all(text, from, "").size() != text.size())
    fail(ErrorKind::kLimit, "chat template, line ", arguments.place.line,
         ": 'replace' would make a text above ", kMaxValueBytes, " bytes");
  return replace_all(text, from, to, at_most(arguments, 2, "count"));
}

// Position in characters, or -1.
Value find(std::string_view text, const CallArguments& arguments) {
  const size_t at = text.find(text_argument(arguments, 0));
  if (at == std::string_view::npos) return int64_t{-1};
  return static_cast<int64_t>(characters_of(text.substr(0, at)).size());
}

Value count(std::string_view text, const CallArguments& arguments) {
  const std::string& wanted = text_argument(arguments, 0);
  if (wanted.empty()) fail_at(arguments.place, "'count' needs a text that is not empty");
  int64_t found = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos;
       at = text.find(wanted, at + wanted.size()))
    ++found;
  return found;
}

Value call_text_method(const std::string& text, std::string_view name,
                       const CallArguments& arguments) {
  arguments.require_at_most(3, name);
  if (name == "startswith")
    return any_of_texts(arguments, [&](const std::string& part) { return text.starts_with(part); });
  if (name == "endswith")
    return any_of_texts(arguments, [&](const std::string& part) { return text.ends_with(part); });
  if (name == "strip") return strip(text, arguments, true, true);
  if (name == "lstrip") return strip(text, arguments, true, false);
  if (name == "rstrip") return strip(text, arguments, false, true);
  if (name == "split") return split(text, arguments);
  if (name == "upper") return to_upper(text);
  if (name == "lower") return to_lower(text);
  if (name == "capitalize") return capitalize(text);
  if (name == "title") return title(text);
  if (name == "replace") return replace(text, arguments);
  if (name == "find") return find(text, arguments);
  if (name == "count") return count(text, arguments);
  CallArguments separator{.place = arguments.place, .positional = {Value(text)}, .named = {}};
  return apply_filter("join", arguments.get(0, ""), separator);
}

Value call_dict_method(const Dict& dict, std::string_view name, const CallArguments& arguments) {
  arguments.require_at_most(name == "get" ? 2 : 0, name);
  if (name == "get") {
    const Value* found = dict.find(text_argument(arguments, 0));
    if (found != nullptr) return *found;
    const Value& otherwise = arguments.get(1, "default");
    return otherwise.is_undefined() ? Value(None{}) : otherwise;
  }
  List items;
  for (const auto& [key, value] : dict.entries) {
    if (name == "keys") items.emplace_back(key);
    if (name == "values") items.push_back(value);
    if (name == "items") items.push_back(List{Value(key), value});
  }
  return items;
}

Value make_range(const CallArguments& arguments) {
  arguments.require_at_most(3, "range");
  const auto number = [&](size_t index) {
    const Value& value = arguments.get(index, "");
    if (!value.is_int()) fail_at(arguments.place, "'range' needs integers");
    return value.as_int();
  };
  const bool one = arguments.positional.size() == 1;
  const int64_t start = one ? 0 : number(0);
  const int64_t stop = one ? number(0) : number(1);
  const int64_t step = arguments.positional.size() == 3 ? number(2) : 1;
  if (step == 0) fail_at(arguments.place, "'range' needs a step other than 0");
  List items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange)
      fail(ErrorKind::kLimit, "chat template, line ", arguments.place.line,
           ": a range of more than ", kMaxRange, " numbers");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return items;
}

Value make_dict(const CallArguments& arguments, bool is_namespace) {
  Dict dict;
  for (const Value& source : arguments.positional) {
    if (!source.is_dict()) fail_at(arguments.place, "a dict is needed here");
    dict = source.as_dict();
  }
  for (const auto& [name, value] : arguments.named) dict.set(name, value);
  dict.is_namespace = is_namespace;
  return dict;
}

Value format_time(const CallArguments& arguments, const std::tm& now) {
  std::array<char, 256> buffer;
  const std::string& format = text_argument(arguments, 0);
  const size_t length = std::strftime(buffer.data(), buffer.size(), format.c_str(), &now);
  if (length == 0 && !format.empty())
    fail_at(arguments.place, "'strftime_now' cannot format the time so");
  return std::string(buffer.data(), length);
}

}  // namespace

const Value& CallArguments::get(size_t index, std::string_view name) const {
  static const Value undefined;
  if (index < positional.size()) return positional[index];
  for (const auto& [given, value] : named)
    if (given == name) return value;
  return undefined;
}

void CallArguments::require_at_most(size_t count, std::string_view callee) const {
  if (positional.size() + named.size() > count)
    fail_at(place, "'", callee, "' takes at most ", count, " arguments here, not ",
            positional.size() + named.size());
}

bool is_method(const Value& self, std::string_view name) {
  const auto in = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (self.is_string()) return in(kTextMethods);
  return self.is_dict() && !self.as_dict().is_namespace && in(kDictMethods);
}

Value call_method(const Value& self, std::string_view name, const CallArguments& arguments) {
  if (self.is_string()) return call_text_method(self.as_string(), name, arguments);
  return call_dict_method(self.as_dict(), name, arguments);
}

bool is_function(std::string_view name, const std::optional<std::tm>& now) {
  return name == "namespace" || name == "range" || name == "dict" || name == "raise_exception" ||
         (name == "strftime_now" && now.has_value());
}

Value call_function(std::string_view name, const CallArguments& arguments,
                    const std::optional<std::tm>& now) {
  if (name == "range") return make_range(arguments);
  if (name == "namespace") return make_dict(arguments, true);
  if (name == "dict") return make_dict(arguments, false);
  if (name == "strftime_now") return format_time(arguments, *now);
  fail_at(arguments.place, "the template refuses: ", text_of(arguments.get(0, "message")));
}

}  // namespace pagoda::engine::jinja

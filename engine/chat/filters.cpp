// The filters of builtins.h: "value | filter(arguments)".
#include <algorithm>
#include <charconv>

#include "engine/chat/builtins.h"
#include "engine/chat/python_text.h"

namespace pagoda::engine::jinja {
namespace {

using Apply = Value (*)(const Value& input, const CallArguments& arguments);

const std::string& need_text(const Value& value, const CallArguments& arguments) {
  if (!value.is_string())
    fail_at(arguments.place, "a text is needed here, not a value of type ", value.type_name());
  return value.as_string();
}

int64_t need_int(const Value& value, const CallArguments& arguments) {
  if (!value.is_int()) fail_at(arguments.place, "an integer is needed here");
  return value.as_int();
}

Value filter_trim(const Value& input, const CallArguments& arguments) {
  const std::string text = text_of(input);
  const Value& characters = arguments.get(0, "chars");
  if (characters.is_undefined() || characters.is_none())
    return std::string(strip_left(strip_right(text)));
  const std::string& set = need_text(characters, arguments);
  return std::string(strip_left(strip_right(text, set), set));
}

Value filter_tojson(const Value& input, const CallArguments& arguments) {
  const Value& indent = arguments.get(0, "indent");
  const int64_t columns = indent.is_int() ? indent.as_int() : -1;
  if (columns > 64) fail_at(arguments.place, "an indent of ", columns, " is above 64");
  try {
    return checked_text(json_of(input, static_cast<int>(columns)), arguments.place);
  } catch (const Error& error) {
    fail_at(arguments.place, error.what());
  }
}

Value filter_length(const Value& input, const CallArguments& arguments) {
  if (input.is_string()) return static_cast<int64_t>(characters_of(input.as_string()).size());
  if (input.is_list()) return static_cast<int64_t>(input.as_list().size());
  if (input.is_dict()) return static_cast<int64_t>(input.as_dict().entries.size());
  if (input.is_undefined()) return int64_t{0};
  fail_at(arguments.place, "a value of type ", input.type_name(), " has no length");
}

Value filter_items(const Value& input, const CallArguments& arguments) {
  if (input.is_undefined()) return List{};
  if (!input.is_dict())
    fail_at(arguments.place, "'items' needs a dict, not a value of type ", input.type_name());
  List items;
  for (const auto& [key, value] : input.as_dict().entries) items.push_back(List{Value(key), value});
  return items;
}

Value filter_join(const Value& input, const CallArguments& arguments) {
  const Value& between = arguments.get(0, "d");
  const std::string separator = between.is_undefined() ? "" : text_of(between);
  std::string text;
  bool first = true;
  for (const Value& item : items_of(input, arguments.place)) {
    if (!first) text += separator;
    first = false;
    text += text_of(item);
    if (text.size() > kMaxValueBytes) break;  // checked_text says so
  }
  return checked_text(std::move(text), arguments.place);
}

// `value.a.b` for the attribute "a.b".
Value member(Value value, std::string_view path, Place place) {
  while (!path.empty()) {
    const size_t dot = path.find('.');
    value = subscript(value, std::string(path.substr(0, dot)), place);
    path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  }
  return value;
}

// select, reject and, with an attribute in front, selectattr and rejectattr: the items for which a
// test named in the arguments holds, or those that are true when none is named.
Value filter_by_test(const Value& input, const CallArguments& arguments, bool by_attribute,
                     bool wanted) {
  const size_t first = by_attribute ? 1 : 0;
  const std::string attribute =
      by_attribute ? need_text(arguments.get(0, "attribute"), arguments) : "";
  const bool has_test = arguments.positional.size() > first;
  const std::string test = has_test ? need_text(arguments.positional[first], arguments) : "";
  if (has_test && !is_test(test))
    fail_at(arguments.place, "the test '", test, "' is not supported");
  CallArguments rest{.place = arguments.place, .positional = {}, .named = {}};
  for (size_t i = first + 1; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  List kept;
  for (const Value& item : items_of(input, arguments.place)) {
    const Value value = by_attribute ? member(item, attribute, arguments.place) : item;
    if ((has_test ? apply_test(test, value, rest) : value.is_true()) == wanted)
      kept.push_back(item);
  }
  return kept;
}

Value filter_select(const Value& input, const CallArguments& arguments) {
  return filter_by_test(input, arguments, false, true);
}
Value filter_reject(const Value& input, const CallArguments& arguments) {
  return filter_by_test(input, arguments, false, false);
}
Value filter_selectattr(const Value& input, const CallArguments& arguments) {
  return filter_by_test(input, arguments, true, true);
}
Value filter_rejectattr(const Value& input, const CallArguments& arguments) {
  return filter_by_test(input, arguments, true, false);
}

Value filter_map(const Value& input, const CallArguments& arguments) {
  const Value& attribute = arguments.get(SIZE_MAX, "attribute");
  const Value& otherwise = arguments.get(SIZE_MAX, "default");
  List mapped;
  for (const Value& item : items_of(input, arguments.place)) {
    if (attribute.is_string()) {
      const Value value = member(item, attribute.as_string(), arguments.place);
      mapped.push_back(value.is_undefined() ? otherwise : value);
      continue;
    }
    const std::string& name = need_text(arguments.get(0, "filter"), arguments);
    if (!is_filter(name)) fail_at(arguments.place, "the filter '", name, "' is not supported");
    CallArguments rest{.place = arguments.place, .positional = {}, .named = {}};
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    mapped.push_back(apply_filter(name, item, rest));
  }
  return mapped;
}

Value filter_default(const Value& input, const CallArguments& arguments) {
  const bool also_false = arguments.get(1, "boolean").is_true();
  if (!input.is_undefined() && (!also_false || input.is_true())) return input;
  const Value& otherwise = arguments.get(0, "default_value");
  return otherwise.is_undefined() ? Value("") : otherwise;
}

Value filter_first(const Value& input, const CallArguments& arguments) {
  const List items = items_of(input, arguments.place);
  return items.empty() ? Value() : items.front();
}

Value filter_last(const Value& input, const CallArguments& arguments) {
  const List items = items_of(input, arguments.place);
  return items.empty() ? Value() : items.back();
}

Value filter_list(const Value& input, const CallArguments& arguments) {
  return items_of(input, arguments.place);
}

Value filter_reverse(const Value& input, const CallArguments& arguments) {
  List items = items_of(input, arguments.place);
  std::reverse(items.begin(), items.end());
  if (!input.is_string()) return items;
  std::string text;
  for (const Value& character : items) text += character.as_string();
  return text;
}

Value filter_replace(const Value& input, const CallArguments& arguments) {
  return call_method(text_of(input), "replace", arguments);
}

Value filter_upper(const Value& input, const CallArguments&) {
  return to_upper(text_of(input));
}
Value filter_lower(const Value& input, const CallArguments&) {
  return to_lower(text_of(input));
}
Value filter_title(const Value& input, const CallArguments&) {
  return title(text_of(input));
}
Value filter_capitalize(const Value& input, const CallArguments&) {
  return capitalize(text_of(input));
}
Value filter_string(const Value& input, const CallArguments&) {
  return text_of(input);
}
Value filter_safe(const Value& input, const CallArguments&) {
  return input;
}

Value filter_int(const Value& input, const CallArguments& arguments) {
  if (input.is_bool() || input.is_int()) return input.as_int();
  if (input.is_float()) return static_cast<int64_t>(input.as_float());
  const Value& otherwise = arguments.get(0, "default");
  Value failed = otherwise.is_undefined() ? Value(int64_t{0}) : otherwise;
  if (!input.is_string()) return failed;
  const std::string_view text = strip_left(strip_right(input.as_string()));
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && stop == text.data() + text.size() ? Value(value) : failed;
}

Value filter_abs(const Value& input, const CallArguments& arguments) {
  if (input.is_float()) return input.as_float() < 0 ? -input.as_float() : input.as_float();
  const int64_t value = need_int(input, arguments);
  return value < 0 && value != INT64_MIN ? -value : value;
}

// indent(width=4, first=False, blank=False)
Value filter_indent(const Value& input, const CallArguments& arguments) {
  const Value& width = arguments.get(0, "width");
  const int64_t columns = width.is_undefined() ? 4 : need_int(width, arguments);
  if (columns < 0 || columns > 64) fail_at(arguments.place, "an indent of ", columns);
  const std::string blanks(static_cast<size_t>(columns), ' ');
  const bool blank_lines = arguments.get(2, "blank").is_true();
  const std::string text = text_of(input);
  std::string indented;
  for (size_t at = 0, line = 0; at <= text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const bool shifted = line == 0 ? arguments.get(1, "first").is_true() : blank_lines || end > at;
    if (line > 0) indented += '\n';
    if (shifted) indented += blanks;
    indented += text.substr(at, end - at);
    at = end + 1;
  }
  return checked_text(std::move(indented), arguments.place);
}

struct NamedFilter {
  std::string_view name;
  Apply apply;
  size_t max_arguments;
};

constexpr size_t kAny = SIZE_MAX;

constexpr NamedFilter kFilters[] = {
    {"abs", filter_abs, 0},
    {"capitalize", filter_capitalize, 0},
    {"count", filter_length, 0},
    {"d", filter_default, 2},
    {"default", filter_default, 2},
    {"first", filter_first, 0},
    {"indent", filter_indent, 3},
    {"int", filter_int, 1},
    {"items", filter_items, 0},
    {"join", filter_join, 1},
    {"last", filter_last, 0},
    {"length", filter_length, 0},
    {"list", filter_list, 0},
    {"lower", filter_lower, 0},
    {"map", filter_map, kAny},
    {"reject", filter_reject, kAny},
    {"rejectattr", filter_rejectattr, kAny},
    {"replace", filter_replace, 3},
    {"reverse", filter_reverse, 0},
    {"safe", filter_safe, 0},
    {"select", filter_select, kAny},
    {"selectattr", filter_selectattr, kAny},
    {"string", filter_string, 0},
    {"title", filter_title, 0},
    {"tojson", filter_tojson, 1},
    {"trim", filter_trim, 1},
    {"upper", filter_upper, 0},
};

const NamedFilter* find_filter(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&](const NamedFilter& filter) { return filter.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace

bool is_filter(std::string_view name) {
  return find_filter(name) != nullptr;
}

Value apply_filter(std::string_view name, const Value& input, const CallArguments& arguments) {
  const NamedFilter& filter = *find_filter(name);
  arguments.require_at_most(filter.max_arguments, name);
  return filter.apply(input, arguments);
}

}  // namespace pagoda::engine::jinja

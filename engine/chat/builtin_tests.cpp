// The tests of builtins.h: "value is test(argument)".
#include <algorithm>

#include "engine/chat/builtins.h"
#include "engine/chat/python_text.h"

namespace pagoda::engine::jinja {
namespace {

using Holds = bool (*)(const Value& value, const CallArguments& arguments);

int64_t need_int(const Value& value, const CallArguments& arguments) {
  if (!value.is_int() && !value.is_bool())
    fail_at(arguments.place, "this test needs an integer, not a value of type ", value.type_name());
  return value.as_int();
}

template <Comparison comparison>
bool compares(const Value& value, const CallArguments& arguments) {
  return apply_comparison(comparison, value, arguments.get(0, "other"), arguments.place);
}

bool is_sequence(const Value& value, const CallArguments&) {
  return value.is_list() || value.is_string() || value.is_dict() || value.is_undefined();
}

struct NamedTest {
  std::string_view name;
  Holds holds;
  size_t num_arguments;
};

constexpr NamedTest kTests[] = {
    {"!=", compares<Comparison::kNotEqual>, 1},
    {"<", compares<Comparison::kLess>, 1},
    {"<=", compares<Comparison::kLessEqual>, 1},
    {"==", compares<Comparison::kEqual>, 1},
    {">", compares<Comparison::kGreater>, 1},
    {">=", compares<Comparison::kGreaterEqual>, 1},
    {"boolean", [](const Value& v, const CallArguments&) { return v.is_bool(); }, 0},
    {"callable", [](const Value& v, const CallArguments&) { return v.is_callable(); }, 0},
    {"defined", [](const Value& v, const CallArguments&) { return !v.is_undefined(); }, 0},
    {"eq", compares<Comparison::kEqual>, 1},
    {"equalto", compares<Comparison::kEqual>, 1},
    {"even", [](const Value& v, const CallArguments& a) { return need_int(v, a) % 2 == 0; }, 0},
    {"false", [](const Value& v, const CallArguments&) { return v.is_bool() && !v.is_true(); }, 0},
    {"float", [](const Value& v, const CallArguments&) { return v.is_float(); }, 0},
    {"ge", compares<Comparison::kGreaterEqual>, 1},
    {"gt", compares<Comparison::kGreater>, 1},
    {"in", compares<Comparison::kIn>, 1},
    {"integer", [](const Value& v, const CallArguments&) { return v.is_int(); }, 0},
    {"iterable", is_sequence, 0},
    {"le", compares<Comparison::kLessEqual>, 1},
    {"lower",
     [](const Value& v, const CallArguments&) {
       const std::string text = text_of(v);
       return text == to_lower(text) && text != to_upper(text);
     },
     0},
    {"lt", compares<Comparison::kLess>, 1},
    {"mapping", [](const Value& v, const CallArguments&) { return v.is_dict(); }, 0},
    {"ne", compares<Comparison::kNotEqual>, 1},
    {"none", [](const Value& v, const CallArguments&) { return v.is_none(); }, 0},
    {"number", [](const Value& v, const CallArguments&) { return v.is_number(); }, 0},
    {"odd", [](const Value& v, const CallArguments& a) { return need_int(v, a) % 2 != 0; }, 0},
    {"sequence", is_sequence, 0},
    {"string", [](const Value& v, const CallArguments&) { return v.is_string(); }, 0},
    {"true", [](const Value& v, const CallArguments&) { return v.is_bool() && v.is_true(); }, 0},
    {"undefined", [](const Value& v, const CallArguments&) { return v.is_undefined(); }, 0},
    {"upper",
     [](const Value& v, const CallArguments&) {
       const std::string text = text_of(v);
       return text == to_upper(text) && text != to_lower(text);
     },
     0},
};

const NamedTest* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [&](const NamedTest& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace

bool is_test(std::string_view name) {
  return find_test(name) != nullptr;
}

bool apply_test(std::string_view name, const Value& operand, const CallArguments& arguments) {
  const NamedTest& test = *find_test(name);
  const size_t given = arguments.positional.size() + arguments.named.size();
  if (given != test.num_arguments)
    fail_at(arguments.place, "the test '", name, "' takes ", test.num_arguments, " arguments, not ",
            given);
  return test.holds(operand, arguments);
}

}  // namespace pagoda::engine::jinja

// The filters, tests, methods and functions that templates may use. Each set is a table: what is
// not in it is refused when the template is parsed (filters, tests) or when it is called.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/chat/syntax.h"
#include "engine/chat/value.h"

namespace pagoda::engine::jinja {

// No text, list or rendering grows beyond these: a template of a few lines can double a text often.
inline constexpr size_t kMaxValueBytes = size_t{16} << 20;
inline constexpr size_t kMaxListItems = size_t{1} << 20;

// The arguments of a call, evaluated.
struct CallArguments {
  Place place;
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `index` or called `name`; undefined when it is not given.
  const Value& get(size_t index, std::string_view name) const;
  // Errors: kTemplate when more or others are given.
  void require_at_most(size_t count, std::string_view callee) const;
};

bool is_filter(std::string_view name);
Value apply_filter(std::string_view name, const Value& input, const CallArguments& arguments);

bool is_test(std::string_view name);
bool apply_test(std::string_view name, const Value& operand, const CallArguments& arguments);

// Whether values of this type have such a method.
bool is_method(const Value& self, std::string_view name);
Value call_method(const Value& self, std::string_view name, const CallArguments& arguments);

// namespace(), range(), dict(), raise_exception(); strftime_now() where there is a time.
bool is_function(std::string_view name, const std::optional<std::tm>& now);
Value call_function(std::string_view name, const CallArguments& arguments,
                    const std::optional<std::tm>& now);

// Operators and access, with Python's rules. Errors: kTemplate for types that do not fit.
Value apply_binary(BinaryOperator op, const Value& left, const Value& right, Place place);
bool apply_comparison(Comparison op, const Value& left, const Value& right, Place place);
Value subscript(const Value& object, const Value& index, Place place);
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step,
            Place place);

// The items that a loop over a value visits: of a list, the keys of a dict, the characters of a
// text, nothing of an undefined value.
List items_of(const Value& value, Place place);

// Errors: kLimit.
Value checked_text(std::string text, Place place);
Value checked_list(List list, Place place);

}  // namespace pagoda::engine::jinja

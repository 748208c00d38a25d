// Operators, comparisons and access of builtins.h, with Python's rules.
#include <algorithm>
#include <cmath>

#include "engine/chat/builtins.h"
#include "engine/chat/python_text.h"

namespace pagoda::engine::jinja {
namespace {

[[noreturn]] void fail_types(const char* what, const Value& left, const Value& right, Place place) {
  fail_at(place, what, " of a value of type ", left.type_name(), " and one of type ",
          right.type_name(), " is not possible");
}

Value add(const Value& left, const Value& right, Place place) {
  if (left.is_string() && right.is_string())
    return checked_text(left.as_string() + right.as_string(), place);
  if (left.is_list() && right.is_list()) {
    List both = left.as_list();
    both.insert(both.end(), right.as_list().begin(), right.as_list().end());
    return checked_list(std::move(both), place);
  }
  fail_types("the sum", left, right, place);
}

Value repeat(const Value& text, const Value& times, Place place) {
  const int64_t count = std::max<int64_t>(times.as_int(), 0);
  const std::string& unit = text.as_string();
  if (!unit.empty() && count > static_cast<int64_t>(kMaxValueBytes / unit.size()))
    fail(ErrorKind::kLimit, "chat template, line ", place.line, ": a text above ", kMaxValueBytes,
         " bytes");
  std::string repeated;
  for (int64_t i = 0; i < count && !unit.empty(); ++i) repeated += unit;
  return repeated;
}

Value float_arithmetic(BinaryOperator op, double a, double b, Place place) {
  switch (op) {
    case BinaryOperator::kAdd:
      return a + b;
    case BinaryOperator::kSubtract:
      return a - b;
    case BinaryOperator::kMultiply:
      return a * b;
    case BinaryOperator::kPower:
      return std::pow(a, b);
    default:
      break;
  }
  if (b == 0) fail_at(place, "division by zero");
  if (op == BinaryOperator::kDivide) return a / b;
  const double quotient = std::floor(a / b);
  return op == BinaryOperator::kFloorDivide ? quotient : a - quotient * b;
}

Value int_power(int64_t base, int64_t exponent, Place place) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    if (base == 0 || base == 1) return base;
    if (base == -1) return exponent % 2 == 0 ? int64_t{1} : int64_t{-1};
    if (__builtin_mul_overflow(result, base, &result)) fail_at(place, "an integer beyond 63 bits");
  }
  return result;
}

Value int_arithmetic(BinaryOperator op, int64_t a, int64_t b, Place place) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOperator::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOperator::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOperator::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOperator::kPower:
      return int_power(a, b, place);
    case BinaryOperator::kDivide:
      return float_arithmetic(op, static_cast<double>(a), static_cast<double>(b), place);
    default:
      if (b == 0) fail_at(place, "division by zero");
      overflow = a == INT64_MIN && b == -1;
      if (overflow) break;
      // Python rounds down, and the remainder has the sign of the divisor.
      const int64_t remainder = a % b;
      const bool rounds = remainder != 0 && (remainder < 0) != (b < 0);
      if (op == BinaryOperator::kModulo) return rounds ? remainder + b : remainder;
      return a / b - (rounds ? 1 : 0);
  }
  if (overflow) fail_at(place, "an integer beyond 63 bits");
  return result;
}

bool contains(const Value& item, const Value& container, Place place) {
  if (container.is_string()) {
    if (!item.is_string()) fail_types("'in'", item, container, place);
    return container.as_string().find(item.as_string()) != std::string::npos;
  }
  if (container.is_dict())
    return item.is_string() && container.as_dict().find(item.as_string()) != nullptr;
  if (container.is_list())
    return std::find(container.as_list().begin(), container.as_list().end(), item) !=
           container.as_list().end();
  if (container.is_undefined()) return false;
  fail_types("'in'", item, container, place);
}

// Negative, zero or positive, as in a - b.
int order_of(const Value& a, const Value& b, Place place) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float())
      return a.as_float() < b.as_float() ? -1 : a.as_float() > b.as_float();
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int();
  }
  if (a.is_string() && b.is_string()) return a.as_string().compare(b.as_string());
  fail_types("the order", a, b, place);
}

// Indices from start to stop, as Python's slice.indices().
struct Bounds {
  int64_t start, stop, step;
};

Bounds bounds_of(int64_t size, const Value& start, const Value& stop, const Value& step,
                 Place place) {
  const auto given = [&](const Value& value) {
    if (value.is_undefined() || value.is_none()) return false;
    if (!value.is_int()) fail_at(place, "a slice needs integers");
    return true;
  };
  Bounds bounds{0, size, 1};
  if (given(step)) bounds.step = step.as_int();
  if (bounds.step == 0) fail_at(place, "a slice needs a step other than 0");
  const bool backwards = bounds.step < 0;
  const int64_t low = backwards ? -1 : 0, high = backwards ? size - 1 : size;
  const auto clamp = [&](int64_t index) {
    return std::clamp(index < 0 ? index + size : index, low, high);
  };
  bounds.start = given(start) ? clamp(start.as_int()) : (backwards ? high : low);
  bounds.stop = given(stop) ? clamp(stop.as_int()) : (backwards ? low : high);
  return bounds;
}

template <class Use>
void for_each_index(const Bounds& bounds, Use use) {
  for (int64_t i = bounds.start; bounds.step > 0 ? i < bounds.stop : i > bounds.stop;) {
    use(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, bounds.step, &i)) return;
  }
}

// The item at a Python index, or nothing.
template <class Items>
const typename Items::value_type* at_index(const Items& items, int64_t index) {
  const auto size = static_cast<int64_t>(items.size());
  if (index < 0) index += size;
  return index >= 0 && index < size ? &items[static_cast<size_t>(index)] : nullptr;
}

}  // namespace

Value apply_binary(BinaryOperator op, const Value& left, const Value& right, Place place) {
  if (op == BinaryOperator::kConcatenate)
    return checked_text(text_of(left) + text_of(right), place);
  if (left.is_number() && right.is_number()) {
    if (left.is_float() || right.is_float())
      return float_arithmetic(op, left.as_float(), right.as_float(), place);
    return int_arithmetic(op, left.as_int(), right.as_int(), place);
  }
  if (op == BinaryOperator::kAdd) return add(left, right, place);
  if (op == BinaryOperator::kMultiply && left.is_string() && right.is_int())
    return repeat(left, right, place);
  fail_types("this operation", left, right, place);
}

bool apply_comparison(Comparison op, const Value& left, const Value& right, Place place) {
  switch (op) {
    case Comparison::kEqual:
      return left == right;
    case Comparison::kNotEqual:
      return !(left == right);
    case Comparison::kLess:
      return order_of(left, right, place) < 0;
    case Comparison::kLessEqual:
      return order_of(left, right, place) <= 0;
    case Comparison::kGreater:
      return order_of(left, right, place) > 0;
    case Comparison::kGreaterEqual:
      return order_of(left, right, place) >= 0;
    case Comparison::kIn:
      return contains(left, right, place);
    default:
      return !contains(left, right, place);
  }
}

Value subscript(const Value& object, const Value& index, Place place) {
  if (object.is_undefined()) fail_at(place, "a member of an undefined value");
  if (object.is_dict()) {
    const Value* found = index.is_string() ? object.as_dict().find(index.as_string()) : nullptr;
    return found == nullptr ? Value() : *found;
  }
  if (!index.is_int()) return {};
  if (object.is_list()) {
    const Value* found = at_index(object.as_list(), index.as_int());
    return found == nullptr ? Value() : *found;
  }
  if (!object.is_string()) return {};
  const std::vector<std::string_view> characters = characters_of(object.as_string());
  const std::string_view* found = at_index(characters, index.as_int());
  return found == nullptr ? Value() : Value(std::string(*found));
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step,
            Place place) {
  if (object.is_list()) {
    const List& list = object.as_list();
    List part;
    for_each_index(bounds_of(static_cast<int64_t>(list.size()), start, stop, step, place),
                   [&](size_t i) { part.push_back(list[i]); });
    return part;
  }
  if (!object.is_string())
    fail_at(place, "a slice of a value of type ", object.type_name(), " is not possible");
  const std::vector<std::string_view> characters = characters_of(object.as_string());
  std::string part;
  for_each_index(bounds_of(static_cast<int64_t>(characters.size()), start, stop, step, place),
                 [&](size_t i) { part += characters[i]; });
  return part;
}

List items_of(const Value& value, Place place) {
  if (value.is_undefined()) return {};
  if (value.is_list()) return value.as_list();
  List items;
  if (value.is_dict() && !value.as_dict().is_namespace) {
    for (const auto& entry : value.as_dict().entries) items.emplace_back(entry.first);
    return items;
  }
  if (!value.is_string())
    fail_at(place, "a value of type ", value.type_name(), " has no items to visit");
  for (std::string_view character : characters_of(value.as_string()))
    items.emplace_back(std::string(character));
  return items;
}

Value checked_text(std::string text, Place place) {
  require(text.size() <= kMaxValueBytes, ErrorKind::kLimit, "chat template, line ", place.line,
          ": a text above ", kMaxValueBytes, " bytes");
  return text;
}

Value checked_list(List list, Place place) {
  require(list.size() <= kMaxListItems, ErrorKind::kLimit, "chat template, line ", place.line,
          ": a list of more than ", kMaxListItems, " items");
  return list;
}

}  // namespace pagoda::engine::jinja

// See value.h.
#include "engine/chat/value.h"

#include <algorithm>
#include <cstdint>

#include "engine/error.h"

namespace pagoda::engine::jinja {
namespace {

constexpr int kMaxJsonDepth = 64;

// The depth of a value that holds `item`.
int depth_around(const Value& item) {
  require(item.depth() < kMaxValueDepth, ErrorKind::kLimit,
          "chat template: values are nested deeper than ", kMaxValueDepth, " levels");
  require(!item.is_dict() || !item.as_dict().is_namespace, ErrorKind::kTemplate,
          "chat template: a namespace inside another value is not supported");
  return item.depth() + 1;
}

Value convert(const nlohmann::ordered_json& json, int depth) {
  using Type = nlohmann::ordered_json::value_t;
  require(depth < kMaxJsonDepth, ErrorKind::kLimit, "the conversation is nested deeper than ",
          kMaxJsonDepth, " levels");
  switch (json.type()) {
    case Type::boolean:
      return json.get<bool>();
    case Type::number_unsigned:
      require(json.get<uint64_t>() <= INT64_MAX, ErrorKind::kLimit,
              "an integer in the conversation is beyond 63 bits");
      return json.get<int64_t>();
    case Type::number_integer:
      return json.get<int64_t>();
    case Type::number_float:
      return json.get<double>();
    case Type::string:
      return json.get<std::string>();
    case Type::array: {
      List list;
      for (const auto& item : json) list.push_back(convert(item, depth + 1));
      return list;
    }
    case Type::object: {
      Dict dict;
      for (const auto& [key, item] : json.items())
        dict.entries.emplace_back(key, convert(item, depth + 1));
      return dict;
    }
    default:
      return None{};
  }
}

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries)
    if (name == key) return &value;
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto& [name, old] : entries) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  entries.emplace_back(std::string(key), std::move(value));
}

Value::Value(List value) : depth_(1) {
  for (const Value& item : value) depth_ = std::max(depth_, depth_around(item));
  data_ = std::make_shared<const List>(std::move(value));
}

Value::Value(Dict value) : depth_(1) {
  for (const auto& entry : value.entries) depth_ = std::max(depth_, depth_around(entry.second));
  data_ = std::make_shared<Dict>(std::move(value));
}

Value::Value(Callable value) {
  if (value.self != nullptr) depth_ = depth_around(*value.self);
  data_ = std::move(value);
}

bool Value::is_true() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return as_float() != 0;
  if (is_string()) return !as_string().empty();
  if (is_list()) return !as_list().empty();
  if (is_dict() && !as_dict().is_namespace) return !as_dict().entries.empty();
  return true;
}

const char* Value::type_name() const {
  constexpr const char* names[] = {"undefined", "NoneType", "bool", "int",     "float",
                                   "str",       "list",     "dict", "function"};
  return names[data_.index()];
}

bool operator==(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.as_float() == b.as_float();
    return a.as_int() == b.as_int();
  }
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if (a.is_list() && b.is_list()) return a.as_list() == b.as_list();
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.as_dict(), &y = b.as_dict();
    return x.entries.size() == y.entries.size() &&
           std::all_of(x.entries.begin(), x.entries.end(), [&](const auto& entry) {
             const Value* other = y.find(entry.first);
             return other != nullptr && *other == entry.second;
           });
  }
  return (a.is_undefined() && b.is_undefined()) || (a.is_none() && b.is_none());
}

Value value_of_json(const nlohmann::ordered_json& json) {
  return convert(json, 0);
}

}  // namespace pagoda::engine::jinja

// The values of a template: those of Python that templates can make, with Python's ideas of truth,
// equality and text. Lists and dicts are shared and never changed after they are made, except for a
// namespace, which exists to be changed.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pagoda::engine::jinja {

class Value;
struct Macro;

// A loop can nest a list in itself again and again; what walks values recurses.
inline constexpr int kMaxValueDepth = 100;

struct Undefined {};  // a name or member that does not exist
struct None {};

using List = std::vector<Value>;

// Keys in order of insertion, as Python keeps them.
struct Dict {
  std::vector<std::pair<std::string, Value>> entries;
  bool is_namespace = false;

  const Value* find(std::string_view key) const;  // nullptr when absent
  void set(std::string_view key, Value value);
};

// Something that can be called: a macro, a method of a value, or a global function.
struct Callable {
  const Macro* macro = nullptr;
  std::shared_ptr<const Value> self;  // of a method
  std::string name;                   // of a method or function
};

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::string,
                            std::shared_ptr<const List>, std::shared_ptr<Dict>, Callable>;

  Value() = default;  // undefined
  Value(None none) : data_(none) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  // Errors: kLimit above kMaxValueDepth; kTemplate for a namespace inside another value, which
  // could close a circle.
  Value(List value);
  Value(Dict value);
  Value(Callable value);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_string() const { return std::holds_alternative<std::string>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<Dict>>(data_); }
  bool is_callable() const { return std::holds_alternative<Callable>(data_); }
  // In Python a bool is a number.
  bool is_number() const { return is_bool() || is_int() || is_float(); }

  int64_t as_int() const { return is_bool() ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double as_float() const {
    return is_float() ? std::get<double>(data_) : static_cast<double>(as_int());
  }
  const std::string& as_string() const { return std::get<std::string>(data_); }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  Dict& as_namespace() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  const Callable& as_callable() const { return std::get<Callable>(data_); }

  bool is_true() const;           // Python's bool(value)
  const char* type_name() const;  // "str", "dict", ... for messages
  int depth() const { return depth_; }

 private:
  Data data_;
  int depth_ = 0;  // of lists and dicts inside each other
};

bool operator==(const Value& a, const Value& b);

// Errors: kLimit for JSON nested deeper than any honest conversation, or integers beyond 64 bits.
Value value_of_json(const nlohmann::ordered_json& json);

}  // namespace pagoda::engine::jinja

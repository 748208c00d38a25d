#include "symbols.h"

#include <algorithm>
#include <cctype>

#include "../core/error.h"

namespace pagoda::mask {
namespace {

constexpr size_t kMaxName = 64;
constexpr std::string_view kReserved[] = {
    "r",   "h",       "g",         "q",     "k",    "request", "head", "kv_head", "query",
    "key", "seq_len", "query_len", "score", "true", "false",   "and",  "or",      "not",
    "min", "max",     "abs",       "float", "tanh", "exp",     "log",  "sqrt"};

template <class List>
int find_in(const List& list, std::string_view name) {
  const auto at = std::find_if(list.begin(), list.end(),
                               [&](const auto& symbol) { return symbol.name == name; });
  return at == list.end() ? -1 : static_cast<int>(at - list.begin());
}

}  // namespace

bool is_reserved(std::string_view word) {
  return std::find(std::begin(kReserved), std::end(kReserved), word) != std::end(kReserved);
}

void Symbols::check_name(const std::string& name) const {
  const auto letter = [](char c) {
    return c == '_' || std::isalnum(static_cast<unsigned char>(c));
  };
  const bool is_name = !name.empty() && name.size() <= kMaxName &&
                       !std::isdigit(static_cast<unsigned char>(name[0])) &&
                       std::all_of(name.begin(), name.end(), letter);
  expect(is_name, PAGODA_INVALID_ARGUMENT, "'", name.substr(0, kMaxName),
         "' is not a name: a letter or '_', then letters, digits and '_', at most ", kMaxName);
  expect(!is_reserved(name), PAGODA_INVALID_ARGUMENT, "'", name,
         "' is a word of the mask language; choose another name");
  expect(find_parameter(name) < 0 && find_table(name) < 0, PAGODA_INVALID_ARGUMENT, "'", name,
         "' is declared twice");
}

int Symbols::add_parameter(std::string name, Type type) {
  check_name(name);
  expect(type != Type::boolean, PAGODA_INVALID_ARGUMENT, "parameter '", name,
         "' must be an integer or a float");
  parameters_.push_back({std::move(name), type});
  return static_cast<int>(parameters_.size()) - 1;
}

int Symbols::add_table(std::string name, Type type, int num_dims) {
  check_name(name);
  expect(type != Type::boolean, PAGODA_INVALID_ARGUMENT, "table '", name,
         "' must hold integers or floats");
  expect(num_dims >= 1 && num_dims <= kMaxArgs, PAGODA_INVALID_ARGUMENT, "table '", name, "' has ",
         num_dims, " dimensions; 1 to ", kMaxArgs, " are allowed");
  tables_.push_back({std::move(name), type, num_dims});
  return static_cast<int>(tables_.size()) - 1;
}

int Symbols::find_parameter(std::string_view name) const {
  return find_in(parameters_, name);
}
int Symbols::find_table(std::string_view name) const {
  return find_in(tables_, name);
}

}  // namespace pagoda::mask

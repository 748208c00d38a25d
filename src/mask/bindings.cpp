#include "bindings.h"

#include <algorithm>

#include "../core/error.h"

namespace pagoda::mask {
namespace {

int find_parameter(const Symbols& symbols, const std::string& name, Type type) {
  const int index = symbols.find_parameter(name);
  expect(index >= 0, PAGODA_INVALID_ARGUMENT, "parameter '", name, "' is not declared");
  const Type declared = symbols.parameters()[static_cast<size_t>(index)].type;
  expect(declared == type, PAGODA_INVALID_ARGUMENT, "parameter '", name, "' is ", name_of(declared),
         ", not ", name_of(type));
  return index;
}

}  // namespace

Value Table::at(Type type, int64_t flat) const {
  if (type == Type::real) return {.f = static_cast<const float*>(data)[flat]};
  return {.i = static_cast<const int32_t*>(data)[flat]};
}

Value Table::lookup(const TableSymbol& symbol, const int64_t* indices) const {
  int64_t flat = 0;
  for (int d = 0; d < symbol.num_dims; ++d) {
    if (indices[d] < 0 || indices[d] >= shape[d]) return outside;
    flat = flat * shape[d] + indices[d];
  }
  return at(symbol.type, flat);
}

Bindings::Bindings(const Symbols& symbols)
    : symbols_(symbols),
      parameters_(symbols.parameters().size()),
      tables_(symbols.tables().size()) {}

void Bindings::set(const std::string& parameter, int64_t value) {
  const int index = find_parameter(symbols_, parameter, Type::integer);
  parameters_[static_cast<size_t>(index)].i = value;
  ++generation_;
}

void Bindings::set(const std::string& parameter, float value) {
  const int index = find_parameter(symbols_, parameter, Type::real);
  parameters_[static_cast<size_t>(index)].f = value;
  ++generation_;
}

Table& Bindings::shaped_table(const std::string& name, Type type, const void* data,
                              std::initializer_list<int64_t> shape) {
  constexpr int64_t kMaxElements = int64_t{1} << 40;
  const int index = symbols_.find_table(name);
  expect(index >= 0, PAGODA_INVALID_ARGUMENT, "table '", name, "' is not declared");
  const TableSymbol& symbol = symbols_.tables()[static_cast<size_t>(index)];
  expect(symbol.type == type, PAGODA_INVALID_ARGUMENT, "table '", name, "' holds ",
         symbol.type == Type::real ? "floats" : "integers", ", not the other");
  expect(static_cast<int>(shape.size()) == symbol.num_dims, PAGODA_INVALID_ARGUMENT, "table '",
         name, "' has ", symbol.num_dims, " dimensions, but ", shape.size(), " sizes are given");
  int64_t count = 1;
  for (int64_t size : shape) {
    expect(size >= 0 && size <= kMaxElements, PAGODA_INVALID_ARGUMENT, "table '", name,
           "' has a dimension of ", size, "; 0 to ", kMaxElements, " are allowed");
    count = size == 0 ? 0 : count > kMaxElements / size ? kMaxElements + 1 : count * size;
    expect(count <= kMaxElements, PAGODA_INVALID_ARGUMENT, "table '", name, "' has more than ",
           kMaxElements, " elements");
  }
  expect(data != nullptr || count == 0, PAGODA_INVALID_ARGUMENT, "table '", name, "' has ", count,
         " elements but no data");
  Table& table = tables_[static_cast<size_t>(index)];
  table.data = data;
  std::fill(std::begin(table.shape), std::end(table.shape), 1);
  std::copy(shape.begin(), shape.end(), table.shape);
  ++generation_;
  return table;
}

void Bindings::set_table(const std::string& name, const int32_t* data,
                         std::initializer_list<int64_t> shape, int64_t outside) {
  Table& table = shaped_table(name, Type::integer, data, shape);
  table.outside = {.i = outside};
  table.ranges.build(data, table.size());
}

void Bindings::set_table(const std::string& name, const float* data,
                         std::initializer_list<int64_t> shape, float outside) {
  Table& table = shaped_table(name, Type::real, data, shape);
  table.outside = {.f = outside};
  table.may_be_nan = table.ranges.build(data, table.size()) || outside != outside;
}

}  // namespace pagoda::mask

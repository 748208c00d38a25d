// What the names of an expression hold: the values of parameters and the elements of tables. Tables
// are borrowed. Set a table again when its elements have changed: that makes a new generation,
// which is what block masks kept from earlier steps are checked against.
#pragma once

#include <cstdint>
#include <vector>

#include "range_index.h"
#include "semantics.h"
#include "symbols.h"

namespace pagoda::mask {

// The value of a lookup outside the table is `outside`, whichever index is out of range.
struct Table {
  const void* data = nullptr;  // [shape[0], shape[1], shape[2]] of int32_t or float, packed
  int64_t shape[kMaxArgs] = {0, 1, 1};
  Value outside;
  RangeIndex ranges;
  bool may_be_nan = false;

  int64_t size() const { return shape[0] * shape[1] * shape[2]; }
  Value at(Type type, int64_t flat) const;
  Value lookup(const TableSymbol& symbol, const int64_t* indices) const;
};

class Bindings {
 public:
  // Every parameter is 0 and every table empty until set. `symbols` outlives the bindings.
  explicit Bindings(const Symbols& symbols);

  void set(const std::string& parameter, int64_t value);
  void set(const std::string& parameter, float value);

  // `shape` has as many sizes as the table was declared with. Allocates only if the table is larger
  // than any before it. PAGODA_INVALID_ARGUMENT: unknown name, wrong type, wrong number of sizes.
  void set_table(const std::string& name, const int32_t* data, std::initializer_list<int64_t> shape,
                 int64_t outside = 0);
  void set_table(const std::string& name, const float* data, std::initializer_list<int64_t> shape,
                 float outside = 0);

  const Symbols& symbols() const { return symbols_; }
  const Value& parameter(int64_t index) const { return parameters_[static_cast<size_t>(index)]; }
  const Table& table(int64_t index) const { return tables_[static_cast<size_t>(index)]; }
  const TableSymbol& table_symbol(int64_t index) const {
    return symbols_.tables()[static_cast<size_t>(index)];
  }

  // Rises with every set.
  uint64_t generation() const { return generation_; }

 private:
  Table& shaped_table(const std::string& name, Type type, const void* data,
                      std::initializer_list<int64_t> shape);

  const Symbols& symbols_;
  std::vector<Value> parameters_;  // [symbols.parameters()]
  std::vector<Table> tables_;      // [symbols.tables()]
  uint64_t generation_ = 1;
};

}  // namespace pagoda::mask

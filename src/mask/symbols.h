// The names that an expression may use besides the variables: per-call scalars and tables. Declared
// once, before any text is parsed; an expression refers to them by index.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "expr.h"

namespace pagoda::mask {

struct ParameterSymbol {
  std::string name;
  Type type;  // integer or real
};

struct TableSymbol {
  std::string name;
  Type type;     // of its elements: integer (int32) or real (float)
  int num_dims;  // 1 to kMaxArgs
};

class Symbols {
 public:
  // Return the index. A name is a letter or '_', then letters, digits, '_', at most 64 in all, and
  // is not a word of the language nor declared before: PAGODA_INVALID_ARGUMENT.
  int add_parameter(std::string name, Type type);
  int add_table(std::string name, Type type, int num_dims);

  const std::vector<ParameterSymbol>& parameters() const { return parameters_; }
  const std::vector<TableSymbol>& tables() const { return tables_; }

  // -1: not declared.
  int find_parameter(std::string_view name) const;
  int find_table(std::string_view name) const;

 private:
  void check_name(const std::string& name) const;

  std::vector<ParameterSymbol> parameters_;
  std::vector<TableSymbol> tables_;
};

// Whether the language itself uses the word.
bool is_reserved(std::string_view word);

}  // namespace pagoda::mask

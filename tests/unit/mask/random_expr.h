// Random expressions over every operator, with random tables and parameters behind their names.
#pragma once

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "src/mask/bindings.h"
#include "src/mask/expr.h"

namespace pagoda::mask {

inline const Symbols& test_symbols() {
  static const Symbols symbols = [] {
    Symbols it;
    it.add_parameter("n", Type::integer);
    it.add_parameter("m", Type::integer);
    it.add_parameter("x", Type::real);
    it.add_table("a", Type::integer, 1);
    it.add_table("b", Type::integer, 2);
    it.add_table("c", Type::integer, 3);
    it.add_table("f", Type::real, 1);
    it.add_table("e", Type::integer, 1);  // always empty
    return it;
  }();
  return symbols;
}

class RandomExpr {
 public:
  explicit RandomExpr(uint64_t seed, bool is_score = false) : random_(seed), is_score_(is_score) {}

  int64_t number(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  Expr mask(int size) { return boolean_of(size); }
  Expr score(int size) { return real_of_size(size); }

  Expr of_type(Type type, int size) {
    return type == Type::boolean   ? boolean_of(size)
           : type == Type::integer ? integer_of(size)
                                   : real_of_size(size);
  }

 private:
  Expr pair(Op op, Type type, int size) {
    const int left = static_cast<int>(number(0, size - 1));
    const Expr a = of_type(type, left), b = of_type(type, size - 1 - left);
    return combine(op, {&a, &b});
  }

  Expr single(Op op, Type type, int size) {
    const Expr a = of_type(type, size - 1);
    return combine(op, {&a});
  }

  Expr choice(Type type, int size) {
    const Expr a = boolean_of(size / 3), b = of_type(type, size / 3), c = of_type(type, size / 3);
    return combine(Op::select, {&a, &b, &c});
  }

  Expr boolean_of(int size) {
    if (size <= 0) {
      if (number(0, 9) == 0) return boolean(number(0, 1) == 1);
      size = 1;
    }
    switch (number(0, 9)) {
      case 0:
        return single(Op::logical_not, Type::boolean, size);
      case 1:
        return choice(Type::boolean, size);
      case 2:
        return pair(number(0, 1) == 0 ? Op::equal : Op::not_equal, Type::boolean, size);
      case 3:
        return pair(comparison(), Type::real, size);
      case 4:
      case 5:
        if (size > 1)
          return pair(number(0, 1) == 0 ? Op::logical_and : Op::logical_or, Type::boolean, size);
        [[fallthrough]];
      default:
        return pair(comparison(), Type::integer, size);
    }
  }

  Op comparison() {
    return static_cast<Op>(number(static_cast<int>(Op::less), static_cast<int>(Op::not_equal)));
  }

  Expr integer_leaf() {
    constexpr int64_t kEdges[] = {0,         -1,        1,         INT32_MAX,
                                  INT32_MIN, INT64_MAX, INT64_MIN, int64_t{1} << 40};
    switch (number(0, 9)) {
      case 0:
        return parameter(static_cast<int>(number(0, 1)), Type::integer);
      case 1:
        if (number(0, 3) == 0) return integer(kEdges[number(0, 7)]);
        return integer(number(-20, 20));
      case 2:
        return integer(number(1, 40));
      case 3:
        return variable(static_cast<Variable>(number(0, 6)));
      case 4:
      case 5: {
        const Expr q = variable(Variable::query), k = variable(Variable::key);
        return combine(Op::subtract, {&q, &k});
      }
      default:
        return variable(number(0, 1) == 0 ? Variable::query : Variable::key);
    }
  }

  Expr looked_up(int size) {
    const Expr i = integer_of(size / 3), j = integer_of(size / 3), k = integer_of(size / 3);
    switch (number(0, 9)) {
      case 0:
        return lookup(4, Type::integer, {&i});
      case 1:
      case 2:
        return lookup(1, Type::integer, {&i, &j});
      case 3:
        return lookup(2, Type::integer, {&i, &j, &k});
      default:
        return lookup(0, Type::integer, {&i});
    }
  }

  Expr integer_of(int size) {
    if (size <= 0) return integer_leaf();
    constexpr Op kPairs[] = {Op::add,    Op::subtract, Op::multiply, Op::floor_divide,
                             Op::modulo, Op::minimum,  Op::maximum,  Op::subtract};
    switch (number(0, 9)) {
      case 0:
        return single(Op::negate, Type::integer, size);
      case 1:
        return single(Op::absolute, Type::integer, size);
      case 2:
        return choice(Type::integer, size);
      case 3:
        return looked_up(size);
      default:
        return pair(kPairs[number(0, 7)], Type::integer, size);
    }
  }

  Expr real_of_size(int size) {
    if (size <= 0) {
      if (is_score_ && number(0, 2) == 0) return variable(Variable::score);
      if (number(0, 2) == 0) return parameter(2, Type::real);
      return real(static_cast<float>(number(-100, 100)) / 8);
    }
    constexpr Op kPairs[] = {Op::add,    Op::subtract, Op::multiply,
                             Op::divide, Op::minimum,  Op::maximum};
    switch (number(0, 9)) {
      case 0:
        return single(Op::negate, Type::real, size);
      case 1:
        return single(Op::absolute, Type::real, size);
      case 2:
        return choice(Type::real, size);
      case 3: {
        const Expr i = integer_of(size - 1);
        return lookup(3, Type::real, {&i});
      }
      case 4: {
        constexpr Op kFunctions[] = {Op::sqrt, Op::tanh, Op::exp, Op::log};
        return single(kFunctions[is_score_ ? number(0, 3) : 0], Type::real, size);
      }
      case 5:
        return pair(kPairs[number(0, 5)], Type::real, size);
      default:
        return single(Op::to_real, Type::integer, size);
    }
  }

  std::mt19937_64 random_;
  const bool is_score_;
};

// Values for test_symbols().
class RandomBindings {
 public:
  explicit RandomBindings(uint64_t seed) : bindings(test_symbols()), random_(seed) {
    for (int32_t& it : a_) it = static_cast<int32_t>(random_() % 16);
    for (int32_t& it : b_) it = static_cast<int32_t>(random_() % 50) - 10;
    for (int32_t& it : c_) it = static_cast<int32_t>(random_());
    for (float& it : f_) it = static_cast<float>(static_cast<int32_t>(random_() % 200) - 100) / 16;
    if (random_() % 4 == 0) std::sort(a_.begin(), a_.end());
    if (random_() % 8 == 0) f_[random_() % f_.size()] = std::numeric_limits<float>::quiet_NaN();
    bindings.set("n", static_cast<int64_t>(random_() % 60) - 5);
    bindings.set("m", random_() % 16 == 0 ? INT64_MAX : static_cast<int64_t>(random_() % 9));
    bindings.set("x", static_cast<float>(random_() % 100) / 4);
    bindings.set_table("a", a_.data(), {static_cast<int64_t>(a_.size())}, -1);
    bindings.set_table("b", b_.data(), {20, 30}, random_() % 2 == 0 ? 0 : INT64_MIN);
    bindings.set_table("c", c_.data(), {4, 5, 6}, 7);
    bindings.set_table("f", f_.data(), {static_cast<int64_t>(f_.size())}, 0.5f);
    bindings.set_table("e", static_cast<const int32_t*>(nullptr), {0}, 3);
  }

  Bindings bindings;

 private:
  std::mt19937_64 random_;
  std::vector<int32_t> a_ = std::vector<int32_t>(150), b_ = std::vector<int32_t>(600),
                       c_ = std::vector<int32_t>(120);
  std::vector<float> f_ = std::vector<float>(90);
};

}  // namespace pagoda::mask

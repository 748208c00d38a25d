// Runs the instructions of a program that have one value or bit per key, with integers of 32 or 64
// bits. Part of RowEvaluator, apart from it because it is compiled once per width.
#pragma once

#include <bit>

#include "lanes.h"
#include "ops.h"
#include "rows.h"
#include "threshold.h"

namespace pagoda::mask {

template <class Int>
class LaneMachine {
 public:
  explicit LaneMachine(RowEvaluator& rows) : rows_(rows), count_(rows.width_) {}

  void run(const Instr& instr) {
    switch (instr.mode) {
      case Mode::linear:
        return walk(instr);
      case Mode::threshold:
        return compare_linear(instr);
      case Mode::run:
        return copy_run(instr);
      case Mode::bits:
        return run_bits(instr);
      default:
        if (instr.op == Op::lookup) return look_up(instr);
        if (instr.type == Type::integer) return run_integer(instr);
        return run_real(instr);
    }
  }

 private:
  const Instr& arg(const Instr& instr, int i) const {
    return rows_.program_->code[static_cast<size_t>(instr.args[i])];
  }
  const Value& scalar(const Instr& instr, int i) const {
    return rows_.scalars_[static_cast<size_t>(instr.args[i])];
  }
  uint32_t* bit_memory(const Instr& instr) const {
    return rows_.bits_ + static_cast<int64_t>(instr.buffer) * (kMaxLanes / 32);
  }
  template <class T>
  T* out(const Instr& instr) const {
    return reinterpret_cast<T*>(rows_.lanes_ + instr.buffer * kLaneBytes);
  }

  Lanes<Int> ints(const Instr& instr, int i) const {
    const Instr& source = arg(instr, i);
    const Int* values = source.buffer < 0 ? nullptr : out<Int>(source);
    return {values, static_cast<Int>(scalar(instr, i).i)};
  }
  Lanes<float> reals(const Instr& instr, int i) const {
    const Instr& source = arg(instr, i);
    return {source.buffer < 0 ? nullptr : out<float>(source), scalar(instr, i).f};
  }
  Bits bools(const Instr& instr, int i) const {
    const int32_t index = instr.args[i];
    if (rows_.pruning_.decides(index)) return {nullptr, rows_.pruning_.is_full(index) ? ~0u : 0u};
    const Instr& source = arg(instr, i);
    return {source.buffer < 0 ? nullptr : bit_memory(source), scalar(instr, i).i != 0 ? ~0u : 0u};
  }

  void walk(const Instr& instr) {
    const size_t index = static_cast<size_t>(&instr - rows_.program_->code.data());
    const int64_t start =
        wrap_add(rows_.scalars_[index].i, wrap_multiply(instr.slope, rows_.first_));
    const Int first = static_cast<Int>(start), slope = static_cast<Int>(instr.slope);
    Int* to = out<Int>(instr);
    for (int i = 0; i < count_; ++i)
      to[i] = wrap_add(first, wrap_multiply(slope, static_cast<Int>(i)));
  }

  void compare_linear(const Instr& instr) {
    const Linear a{scalar(instr, 0).i, arg(instr, 0).slope};
    const Linear b{scalar(instr, 1).i, arg(instr, 1).slope};
    uint32_t* bits = bit_memory(instr);
    if (is_tame(a) && is_tame(b))
      return fill_threshold(instr.op, a, b, rows_.first_, bits, count_ / 32);
    for (int w = 0; w < count_ / 32; ++w) {
      bits[w] = 0;
      for (int i = 0; i < 32; ++i) {
        const int64_t key = rows_.first_ + int64_t{32} * w + i;
        const Value x{.i = wrap_add(a.base, wrap_multiply(a.slope, key))};
        const Value y{.i = wrap_add(b.base, wrap_multiply(b.slope, key))};
        bits[w] |= static_cast<uint32_t>(apply(instr.op, Type::integer, x, y, {}).i) << i;
      }
    }
  }

  // Elements of a table that lie side by side: a copy, with `outside` before and after it.
  void copy_run(const Instr& instr) {
    const Table& table = rows_.bindings_.table(instr.value);
    const int num_dims = rows_.bindings_.table_symbol(instr.value).num_dims;
    int64_t row = 0;
    bool inside = true;
    for (int d = 0; d + 1 < num_dims; ++d) {
      const int64_t index = scalar(instr, d).i;
      inside &= index >= 0 && index < table.shape[d];
      row = inside ? row * table.shape[d] + index : 0;
    }
    const int64_t size = inside ? table.shape[num_dims - 1] : 0;
    const int64_t start = wrap_add(scalar(instr, num_dims - 1).i, rows_.first_);
    // Beyond these bounds no key of the stretch is inside, and the sums below stay small.
    const int64_t from = std::clamp<int64_t>(start, -kMaxLanes, size);
    const int begin = static_cast<int>(std::clamp<int64_t>(-from, 0, count_));
    const int end = static_cast<int>(std::clamp<int64_t>(size - from, begin, count_));
    const int64_t base = row * table.shape[num_dims - 1] + from;
    if (instr.type == Type::real)
      copy_from(static_cast<const float*>(table.data), base, begin, end, table.outside.f,
                out<float>(instr));
    else
      copy_from(static_cast<const int32_t*>(table.data), base, begin, end,
                static_cast<Int>(table.outside.i), out<Int>(instr));
  }

  template <class From, class To>
  void copy_from(const From* data, int64_t base, int begin, int end, To outside, To* to) const {
    for (int i = 0; i < begin; ++i) to[i] = outside;
    for (int i = begin; i < end; ++i) to[i] = static_cast<To>(data[base + i]);
    for (int i = end; i < count_; ++i) to[i] = outside;
  }

  void look_up(const Instr& instr) {
    const Table& table = rows_.bindings_.table(instr.value);
    const TableSymbol& symbol = rows_.bindings_.table_symbol(instr.value);
    Lanes<Int> indices[kMaxArgs] = {};
    for (int d = 0; d < symbol.num_dims; ++d) indices[d] = ints(instr, d);
    for (int i = 0; i < count_; ++i) {
      int64_t index[kMaxArgs] = {};
      for (int d = 0; d < symbol.num_dims; ++d)
        index[d] = indices[d].values != nullptr ? indices[d].values[i] : indices[d].scalar;
      const Value found = table.lookup(symbol, index);
      if (instr.type == Type::real)
        out<float>(instr)[i] = found.f;
      else
        out<Int>(instr)[i] = static_cast<Int>(found.i);
    }
  }

  // A select whose condition is the same for all keys is a choice of one operand.
  template <class T>
  void select(const Instr& instr, const Lanes<T>& yes, const Lanes<T>& no) {
    blend(bools(instr, 0), yes, no, out<T>(instr), count_);
  }

  // What walks with k and is small enough to be exact needs no conversion per key.
  void convert(const Instr& instr, float* to) {
    constexpr int64_t kExact = int64_t{1} << 24, kSteepest = kExact / kMaxLanes;
    const Instr& source = arg(instr, 0);
    if (source.mode == Mode::linear && source.slope > -kSteepest && source.slope < kSteepest) {
      const int64_t first = wrap_add(scalar(instr, 0).i, wrap_multiply(source.slope, rows_.first_));
      const int64_t last = wrap_add(first, source.slope * count_);
      if (first > -kExact && first < kExact && last > -kExact && last < kExact) {
        const float start = static_cast<float>(first), slope = static_cast<float>(source.slope);
        for (int i = 0; i < count_; ++i) to[i] = start + slope * static_cast<float>(i);
        return;
      }
    }
    map(ints(instr, 0), to, count_, [](Int x) { return static_cast<float>(x); });
  }

  void exponentials(const Lanes<float>& a, float* to) {
    constexpr float kLargest = 87;  // for which the machine's function is good
    if (rows_.math_.exp == nullptr) return map(a, to, count_, [](float x) { return std::exp(x); });
    rows_.math_.exp(a.values, to, count_);
    for (int i = 0; i < count_; ++i)
      if (a.values[i] > kLargest) to[i] = std::exp(a.values[i]);
  }

  template <class T>
  bool arithmetic(Op op, const Lanes<T>& a, const Lanes<T>& b, T* to) const {
    const auto apply_each = [&](auto f) {
      map(a, b, to, count_, f);
      return true;
    };
    switch (op) {
      case Op::add:
        return apply_each([](T x, T y) { return wrap_add(x, y); });
      case Op::subtract:
        return apply_each([](T x, T y) { return wrap_subtract(x, y); });
      case Op::multiply:
        return apply_each([](T x, T y) { return wrap_multiply(x, y); });
      case Op::minimum:
        return apply_each([](T x, T y) { return minimum(x, y); });
      case Op::maximum:
        return apply_each([](T x, T y) { return maximum(x, y); });
      default:
        return false;
    }
  }

  void divide(const Instr& instr) {
    const Lanes<Int> a = ints(instr, 0), b = ints(instr, 1);
    Int* to = out<Int>(instr);
    const bool modulo = instr.op == Op::modulo;
    const Int d = b.scalar;
    // A positive power of two is a shift or a mask, which floors as it should.
    if (b.values == nullptr && a.values != nullptr && d > 0 && (d & (d - 1)) == 0) {
      const int shift = std::countr_zero(static_cast<std::make_unsigned_t<Int>>(d));
      const Int rest = static_cast<Int>(d - 1);
      if (modulo) return map(a, to, count_, [rest](Int x) { return static_cast<Int>(x & rest); });
      return map(a, to, count_, [shift](Int x) { return static_cast<Int>(x >> shift); });
    }
    if (modulo) return map(a, b, to, count_, [](Int x, Int y) { return floor_modulo(x, y); });
    map(a, b, to, count_, [](Int x, Int y) { return floor_divide(x, y); });
  }

  // Keys that were dealt out.
  void locate(Int* to) const {
    for (int i = 0; i < count_; ++i)
      to[i] = position_of(rows_.shard_, static_cast<int32_t>(rows_.first_) + i);
  }

  void run_integer(const Instr& instr) {
    Int* to = out<Int>(instr);
    if (instr.op == Op::variable) return locate(to);
    if (instr.op == Op::select) return select(instr, ints(instr, 1), ints(instr, 2));
    if (instr.op == Op::floor_divide || instr.op == Op::modulo) return divide(instr);
    const Lanes<Int> a = ints(instr, 0);
    if (instr.op == Op::negate) return map(a, to, count_, [](Int x) { return wrap_negate(x); });
    if (instr.op == Op::absolute) return map(a, to, count_, [](Int x) { return absolute(x); });
    arithmetic(instr.op, a, ints(instr, 1), to);
  }

  void run_real(const Instr& instr) {
    float* to = out<float>(instr);
    if (instr.op == Op::variable) {  // the score
      for (int i = 0; i < count_; ++i) to[i] = rows_.score_[i];
      return;
    }
    if (instr.op == Op::to_real) return convert(instr, to);
    if (instr.op == Op::select) return select(instr, reals(instr, 1), reals(instr, 2));
    const Lanes<float> a = reals(instr, 0);
    switch (instr.op) {
      case Op::negate:
        return map(a, to, count_, [](float x) { return -x; });
      case Op::absolute:
        return map(a, to, count_, [](float x) { return std::fabs(x); });
      case Op::sqrt:
        return map(a, to, count_, [](float x) { return std::sqrt(x); });
      case Op::tanh:
        if (rows_.math_.tanh != nullptr) return rows_.math_.tanh(a.values, to, count_);
        return map(a, to, count_, [](float x) { return std::tanh(x); });
      case Op::exp:
        return exponentials(a, to);
      case Op::log:
        return map(a, to, count_, [](float x) { return std::log(x); });
      case Op::divide:
        return map(a, reals(instr, 1), to, count_, [](float x, float y) { return x / y; });
      default:
        arithmetic(instr.op, a, reals(instr, 1), to);
    }
  }

  template <class T>
  void compare(Op op, const Lanes<T>& a, const Lanes<T>& b, uint32_t* bits) const {
    switch (op) {
      case Op::less:
        return test(a, b, bits, count_, [](T x, T y) { return x < y; });
      case Op::less_equal:
        return test(a, b, bits, count_, [](T x, T y) { return x <= y; });
      case Op::greater:
        return test(a, b, bits, count_, [](T x, T y) { return x > y; });
      case Op::greater_equal:
        return test(a, b, bits, count_, [](T x, T y) { return x >= y; });
      case Op::equal:
        return test(a, b, bits, count_, [](T x, T y) { return x == y; });
      default:
        return test(a, b, bits, count_, [](T x, T y) { return x != y; });
    }
  }

  void run_bits(const Instr& instr) {
    uint32_t* bits = bit_memory(instr);
    if (is_comparison(instr.op) && instr.arg_type == Type::integer)
      return compare(instr.op, ints(instr, 0), ints(instr, 1), bits);
    if (is_comparison(instr.op) && instr.arg_type == Type::real)
      return compare(instr.op, reals(instr, 0), reals(instr, 1), bits);
    const Bits a = bools(instr, 0);
    const Bits b = instr.args[1] < 0 ? a : bools(instr, 1);
    const Bits c = instr.args[2] < 0 ? a : bools(instr, 2);
    const auto each = [&](auto f) {
      for (int w = 0; w < count_ / 32; ++w) bits[w] = f(w);
    };
    switch (instr.op) {
      case Op::logical_not:
        return each([&](int w) { return ~a[w]; });
      case Op::logical_and:
        return each([&](int w) { return a[w] & b[w]; });
      case Op::logical_or:
        return each([&](int w) { return a[w] | b[w]; });
      case Op::equal:
        return each([&](int w) { return ~(a[w] ^ b[w]); });
      case Op::not_equal:
        return each([&](int w) { return a[w] ^ b[w]; });
      default:
        return each([&](int w) { return (a[w] & b[w]) | (~a[w] & c[w]); });
    }
  }

  RowEvaluator& rows_;
  const int count_;
};

}  // namespace pagoda::mask

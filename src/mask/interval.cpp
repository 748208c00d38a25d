#include "interval.h"

#include <algorithm>
#include <cmath>

#include "semantics.h"

namespace pagoda::mask {
namespace {

constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();

// Sums and products that remember whether any of them left 64 bits.
class Exact {
 public:
  int64_t add(int64_t a, int64_t b) {
    int64_t sum;
    overflow_ |= __builtin_add_overflow(a, b, &sum);
    return sum;
  }
  int64_t subtract(int64_t a, int64_t b) {
    int64_t difference;
    overflow_ |= __builtin_sub_overflow(a, b, &difference);
    return difference;
  }
  int64_t multiply(int64_t a, int64_t b) {
    int64_t product;
    overflow_ |= __builtin_mul_overflow(a, b, &product);
    return product;
  }
  bool ok() const { return !overflow_; }

 private:
  bool overflow_ = false;
};

// Tightens the bounds of `form` by its linear part; drops a linear part that leaves 64 bits.
IntForm tightened(IntForm form, const Box& box) {
  if (form.per_q == 0 && form.per_k == 0)
    return between(std::max(form.low, form.base_low), std::min(form.high, form.base_high));
  Exact sum;
  const int64_t q0 = sum.multiply(form.per_q, box.low_of(Variable::query));
  const int64_t q1 = sum.multiply(form.per_q, box.high_of(Variable::query));
  const int64_t k0 = sum.multiply(form.per_k, box.low_of(Variable::key));
  const int64_t k1 = sum.multiply(form.per_k, box.high_of(Variable::key));
  const int64_t low = sum.add(form.base_low, sum.add(std::min(q0, q1), std::min(k0, k1)));
  const int64_t high = sum.add(form.base_high, sum.add(std::max(q0, q1), std::max(k0, k1)));
  if (!sum.ok()) return between(form.low, form.high);
  form.low = std::max(form.low, low);
  form.high = std::min(form.high, high);
  if (box.min_distance == kLowest || form.per_k == kLowest || form.per_q != -form.per_k)
    return form;
  Exact distance;
  const int64_t least = distance.multiply(form.per_q, box.min_distance);
  const int64_t bound = distance.add(form.per_q > 0 ? form.base_low : form.base_high, least);
  if (!distance.ok()) return form;
  if (form.per_q > 0) form.low = std::max(form.low, bound);
  if (form.per_q < 0) form.high = std::min(form.high, bound);
  return form;
}

IntForm sum_of(const IntForm& a, const IntForm& b, const Box& box) {
  Exact bounds;
  const int64_t low = bounds.add(a.low, b.low), high = bounds.add(a.high, b.high);
  if (!bounds.ok()) return anything();
  Exact linear;
  const IntForm form{low,
                     high,
                     linear.add(a.per_q, b.per_q),
                     linear.add(a.per_k, b.per_k),
                     linear.add(a.base_low, b.base_low),
                     linear.add(a.base_high, b.base_high)};
  return linear.ok() ? tightened(form, box) : between(low, high);
}

IntForm difference_of(const IntForm& a, const IntForm& b, const Box& box) {
  Exact bounds;
  const int64_t low = bounds.subtract(a.low, b.high), high = bounds.subtract(a.high, b.low);
  if (!bounds.ok()) return anything();
  Exact linear;
  const IntForm form{low,
                     high,
                     linear.subtract(a.per_q, b.per_q),
                     linear.subtract(a.per_k, b.per_k),
                     linear.subtract(a.base_low, b.base_high),
                     linear.subtract(a.base_high, b.base_low)};
  return linear.ok() ? tightened(form, box) : between(low, high);
}

IntForm scaled(const IntForm& a, int64_t factor, const Box& box) {
  Exact bounds;
  const int64_t x = bounds.multiply(a.low, factor), y = bounds.multiply(a.high, factor);
  if (!bounds.ok()) return anything();
  Exact linear;
  const int64_t u = linear.multiply(a.base_low, factor), v = linear.multiply(a.base_high, factor);
  const IntForm form{std::min(x, y),
                     std::max(x, y),
                     linear.multiply(a.per_q, factor),
                     linear.multiply(a.per_k, factor),
                     std::min(u, v),
                     std::max(u, v)};
  return linear.ok() ? tightened(form, box) : between(form.low, form.high);
}

// Bounds that were tight stay so.
IntForm negated_form(const IntForm& a) {
  if (a.low == kLowest) return anything();
  const bool fits = a.per_q != kLowest && a.per_k != kLowest && a.base_low != kLowest;
  if (!fits) return between(-a.high, -a.low);
  return {-a.high, -a.low, -a.per_q, -a.per_k, -a.base_high, -a.base_low};
}

IntForm product_of(const IntForm& a, const IntForm& b, const Box& box) {
  if (b.low == b.high) return scaled(a, b.low, box);
  if (a.low == a.high) return scaled(b, a.low, box);
  Exact exact;
  const auto [low, high] =
      std::minmax({exact.multiply(a.low, b.low), exact.multiply(a.low, b.high),
                   exact.multiply(a.high, b.low), exact.multiply(a.high, b.high)});
  return exact.ok() ? between(low, high) : anything();
}

// For divisors of one sign the quotient is monotone in each argument, so its extremes are at the
// corners.
IntForm quotient_of(const IntForm& a, const IntForm& b) {
  if (a.low == kLowest && b.low <= -1 && b.high >= -1) return anything();
  if (b.low == b.high && b.low != 0) {
    const auto [x, y] = std::minmax({floor_divide(a.low, b.low), floor_divide(a.high, b.low)});
    return between(x, y);
  }
  bool any = false;
  int64_t low = 0, high = 0;
  const auto take = [&](int64_t value) {
    low = any ? std::min(low, value) : value;
    high = any ? std::max(high, value) : value;
    any = true;
  };
  const auto corners = [&](int64_t from, int64_t to) {
    for (int64_t divisor : {from, to})
      for (int64_t dividend : {a.low, a.high}) take(floor_divide(dividend, divisor));
  };
  if (b.low < 0) corners(b.low, std::min<int64_t>(b.high, -1));
  if (b.high > 0) corners(std::max<int64_t>(b.low, 1), b.high);
  if (b.low <= 0 && b.high >= 0) take(0);
  return between(low, high);
}

IntForm remainder_of(const IntForm& a, const IntForm& b, const Box& box) {
  if (b.low == 0 && b.high == 0) return a;
  if (b.low == b.high && !(a.low == kLowest && b.low == -1)) {
    // Within one period the remainder is a shift of `a`, and keeps its linear form.
    const int64_t quotient = floor_divide(a.low, b.low);
    int64_t shift;
    if (quotient == floor_divide(a.high, b.low) && !__builtin_mul_overflow(quotient, b.low, &shift))
      return difference_of(a, between(shift, shift), box);
  }
  int64_t low = b.low < 0 ? b.low + 1 : 0, high = b.high > 0 ? b.high - 1 : 0;
  if (b.low > 0 && a.low >= 0) high = std::min(high, a.high);
  if (b.low <= 0 && b.high >= 0) {
    low = std::min(low, a.low);
    high = std::max(high, a.high);
  }
  return between(low, high);
}

IntForm smaller_of(const IntForm& a, const IntForm& b, const Box& box) {
  const Truth less = compare(Op::less, a, b, box);
  if (less != Truth::undecided) return less == Truth::full ? a : b;
  return between(std::min(a.low, b.low), std::min(a.high, b.high));
}

IntForm larger_of(const IntForm& a, const IntForm& b, const Box& box) {
  const Truth greater = compare(Op::greater, a, b, box);
  if (greater != Truth::undecided) return greater == Truth::full ? a : b;
  return between(std::max(a.low, b.low), std::max(a.high, b.high));
}

// Whether a difference within [low, high] is what `op` asks of it.
template <class T>
Truth sign_test(Op op, T low, T high) {
  const auto truth = [](bool always, bool never) {
    return always ? Truth::full : never ? Truth::empty : Truth::undecided;
  };
  switch (op) {
    case Op::less:
      return truth(high < 0, low >= 0);
    case Op::less_equal:
      return truth(high <= 0, low > 0);
    case Op::greater:
      return truth(low > 0, high <= 0);
    case Op::greater_equal:
      return truth(low >= 0, high < 0);
    case Op::equal:
      return truth(low == 0 && high == 0, low > 0 || high < 0);
    default:
      return truth(low > 0 || high < 0, low == 0 && high == 0);
  }
}

bool finite(const RealForm& a) {
  return !a.may_be_nan && std::isfinite(a.low) && std::isfinite(a.high);
}

}  // namespace

IntForm unary(Op op, const IntForm& a) {
  if (op == Op::negate) return negated_form(a);
  if (a.low >= 0) return a;
  if (a.low == kLowest) return anything();
  if (a.high <= 0) return negated_form(a);
  return between(0, std::max(-a.low, a.high));
}

IntForm binary(Op op, const IntForm& a, const IntForm& b, const Box& box) {
  switch (op) {
    case Op::add:
      return sum_of(a, b, box);
    case Op::subtract:
      return difference_of(a, b, box);
    case Op::multiply:
      return product_of(a, b, box);
    case Op::floor_divide:
      return quotient_of(a, b);
    case Op::modulo:
      return remainder_of(a, b, box);
    case Op::minimum:
      return smaller_of(a, b, box);
    default:
      return larger_of(a, b, box);
  }
}

RealForm to_real(const IntForm& a) {
  return {static_cast<float>(a.low), static_cast<float>(a.high), false};
}

RealForm unary(Op op, const RealForm& a) {
  if (a.may_be_nan) return any_real();
  switch (op) {
    case Op::negate:
      return {-a.high, -a.low, false};
    case Op::absolute:
      if (a.low >= 0) return a;
      if (a.high <= 0) return {-a.high, -a.low, false};
      return {0, std::max(-a.low, a.high), false};
    case Op::sqrt:
      return a.low >= 0 ? RealForm{std::sqrt(a.low), std::sqrt(a.high), false} : any_real();
    default:  // not correctly rounded, so not provably monotone
      return any_real();
  }
}

// Rounding is monotone, so the corners of exact monotone operators bound the rounded ones.
RealForm binary(Op op, const RealForm& a, const RealForm& b) {
  if (op == Op::minimum || op == Op::maximum) {
    if (a.may_be_nan || b.may_be_nan) return any_real();
    if (op == Op::minimum) return {std::min(a.low, b.low), std::min(a.high, b.high), false};
    return {std::max(a.low, b.low), std::max(a.high, b.high), false};
  }
  if (!finite(a) || !finite(b)) return any_real();
  if (op == Op::add) return {a.low + b.low, a.high + b.high, false};
  if (op == Op::subtract) return {a.low - b.high, a.high - b.low, false};
  if (op == Op::divide && b.low <= 0 && b.high >= 0) return any_real();
  const auto join = [op](float x, float y) { return op == Op::multiply ? x * y : x / y; };
  const auto [low, high] = std::minmax(
      {join(a.low, b.low), join(a.low, b.high), join(a.high, b.low), join(a.high, b.high)});
  return {low, high, false};
}

Truth compare(Op op, const IntForm& a, const IntForm& b, const Box& box) {
  if (a.high < b.low) return sign_test(op, -1, -1);
  if (a.low > b.high) return sign_test(op, 1, 1);
  // Beside a number that stands still, bounds say all there is to know.
  const bool is_fixed = a.low == a.high || b.low == b.high;
  if (is_fixed) return sign_test(op, a.low >= b.high ? 0 : -1, a.high <= b.low ? 0 : 1);
  const IntForm d = difference_of(a, b, box);
  // Bounds that cross may still touch at one end only, which the difference of wide values loses.
  const int64_t low = a.low >= b.high ? std::max<int64_t>(d.low, 0) : d.low;
  const int64_t high = a.high <= b.low ? std::min<int64_t>(d.high, 0) : d.high;
  return sign_test(op, low, high);
}

bool difference_is_of_distance(const IntForm& a, const IntForm& b, const Box& box) {
  // Values that wrap have no linear form, so the difference of two that have is exact.
  const IntForm d = difference_of(a, b, box);
  return is_exact(a) && is_exact(b) && is_exact(d) && d.per_q == wrap_negate(d.per_k);
}

Truth compare(Op op, const RealForm& a, const RealForm& b) {
  if (a.may_be_nan || b.may_be_nan) return Truth::undecided;
  if (a.high < b.low) return sign_test(op, -1, -1);
  if (a.low > b.high) return sign_test(op, 1, 1);
  const int low = a.low == b.high ? 0 : -1, high = a.high == b.low ? 0 : 1;
  return sign_test(op, low, high);
}

Truth negated(Truth a) {
  return a == Truth::undecided ? a : a == Truth::full ? Truth::empty : Truth::full;
}

Truth conjunction(Truth a, Truth b) {
  if (a == Truth::empty || b == Truth::empty) return Truth::empty;
  return a == Truth::full && b == Truth::full ? Truth::full : Truth::undecided;
}

Truth disjunction(Truth a, Truth b) {
  return negated(conjunction(negated(a), negated(b)));
}

IntForm hull(const IntForm& a, const IntForm& b) {
  const int64_t low = std::min(a.low, b.low), high = std::max(a.high, b.high);
  if (a.per_q != b.per_q || a.per_k != b.per_k) return between(low, high);
  return {low,
          high,
          a.per_q,
          a.per_k,
          std::min(a.base_low, b.base_low),
          std::max(a.base_high, b.base_high)};
}

RealForm hull(const RealForm& a, const RealForm& b) {
  return {std::min(a.low, b.low), std::max(a.high, b.high), a.may_be_nan || b.may_be_nan};
}

}  // namespace pagoda::mask

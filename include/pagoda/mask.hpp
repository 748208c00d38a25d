// mask.hpp - mask and score expressions in C++, and owning handles of mask.h. Header-only.
//
//     using namespace pagoda::expr;
//     const Int window = int_parameter("window");
//     const IntTable doc("doc");
//     const Bool mask = q >= k && q - k < window && doc(r, q) == doc(r, k);
//     mask.text()   // "q >= k && q - k < window && doc[r, q] == doc[r, k]"
//
// What is built is text, in the language of docs/guides/custom-masks.md, because text is what the C
// interface takes and what can be stored, compared and shown. The C++ types catch what that
// language would refuse: a Bool is no number, an Int does not become a Real silently where it would
// round, and floor division and division are different functions.
#pragma once

#include <pagoda/mask.h>

#include <charconv>
#include <concepts>
#include <cstdint>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

namespace pagoda {
inline namespace v1 {
namespace expr {

// How tightly the outermost operator of a text binds, as in C.
enum class Binding { select = 1, either, both, equality, comparison, sum, product, prefix, atom };

class Text {
 public:
  Text(std::string text, Binding binding) : text_(std::move(text)), binding_(binding) {}
  const std::string& text() const { return text_; }

  // In parentheses if it binds less tightly than `least`.
  std::string within(Binding least) const {
    return binding_ >= least ? text_ : std::string("(").append(text_).append(")");
  }

 private:
  std::string text_;
  Binding binding_;
};

class Bool : public Text {
 public:
  using Text::Text;
  explicit Bool(bool value) : Text(value ? "true" : "false", Binding::atom) {}
};

class Int : public Text {
 public:
  using Text::Text;
  template <std::integral Value>
  requires(!std::same_as<Value, bool>) Int(Value value)
      : Text(std::to_string(value), value < 0 ? Binding::prefix : Binding::atom) {}
};

class Real : public Text {
 public:
  using Text::Text;
  Real(const Int& value) : Text(std::string("float(") + value.text() + ")", Binding::atom) {}

  // The nearest float; infinities and NaN are refused when the text is read.
  template <class Value>
  requires(std::floating_point<Value> || (std::integral<Value> && !std::same_as<Value, bool>))
      Real(Value value)
      : Real(spelled(static_cast<float>(value))) {}

 private:
  explicit Real(const std::string& number)
      : Text(number, number[0] == '-' ? Binding::prefix : Binding::atom) {}

  // Shortest digits that give the value back; never an integer's.
  static std::string spelled(float value) {
    char buffer[32];
    std::string text(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
  }
};

namespace detail {

inline std::string infix(const Text& a, const char* op, const Text& b, Binding left,
                         Binding right) {
  return a.within(left).append(" ").append(op).append(" ").append(b.within(right));
}
inline std::string chained(const Text& a, const char* op, const Text& b, Binding own) {
  return infix(a, op, b, own, static_cast<Binding>(static_cast<int>(own) + 1));
}
inline std::string unchained(const Text& a, const char* op, const Text& b, Binding own) {
  const auto tighter = static_cast<Binding>(static_cast<int>(own) + 1);
  return infix(a, op, b, tighter, tighter);
}
// A sign before a number would become part of it.
inline std::string negated(const Text& a) {
  const bool number = a.text()[0] >= '0' && a.text()[0] <= '9';
  if (number && a.within(Binding::atom) == a.text())
    return std::string("-(").append(a.text()).append(")");
  const bool negative =
      a.text()[0] == '-' && a.text().size() > 1 && a.text()[1] >= '0' && a.text()[1] <= '9';
  return std::string("-").append(a.within(negative ? Binding::atom : Binding::prefix));
}
template <class... More>
std::string list(const Text& first, const More&... more) {
  std::string text = first.text();
  (text.append(", ").append(more.text()), ...);
  return text;
}
template <class... Args>
std::string call(const char* name, const Args&... args) {
  return std::string(name).append("(").append(list(args...)).append(")");
}
inline std::string choice(const Text& condition, const Text& yes, const Text& no) {
  return condition.within(Binding::either)
      .append(" ? ")
      .append(yes.text())
      .append(" : ")
      .append(no.within(Binding::select));
}

}  // namespace detail

// Names. Positions count within the sequence, whatever pages it lies in.
inline const Int r{"r", Binding::atom};                  // request
inline const Int h{"h", Binding::atom};                  // query head
inline const Int g{"g", Binding::atom};                  // key head
inline const Int q{"q", Binding::atom};                  // position of the query
inline const Int k{"k", Binding::atom};                  // position of the key
inline const Int seq_len{"seq_len", Binding::atom};      // keys of the request
inline const Int query_len{"query_len", Binding::atom};  // queries of the request in this step
inline const Real score{"score", Binding::atom};         // in score expressions only

inline Int int_parameter(const std::string& name) {
  return {name, Binding::atom};
}
inline Real real_parameter(const std::string& name) {
  return {name, Binding::atom};
}

// A declared table: table(i), table(i, j) or table(i, j, k), by its number of dimensions.
template <class Element>
class Table {
 public:
  explicit Table(std::string name) : name_(std::move(name)) {}

  Element operator()(const Int& i) const { return looked_up(detail::list(i)); }
  Element operator()(const Int& i, const Int& j) const { return looked_up(detail::list(i, j)); }
  Element operator()(const Int& i, const Int& j, const Int& l) const {
    return looked_up(detail::list(i, j, l));
  }

 private:
  Element looked_up(const std::string& indices) const {
    return {std::string(name_).append("[").append(indices).append("]"), Binding::atom};
  }
  std::string name_;
};
using IntTable = Table<Int>;
using RealTable = Table<Real>;

inline Bool operator!(const Bool& a) {
  return {std::string("!").append(a.within(Binding::prefix)), Binding::prefix};
}
inline Bool operator&&(const Bool& a, const Bool& b) {
  return {detail::chained(a, "&&", b, Binding::both), Binding::both};
}
inline Bool operator||(const Bool& a, const Bool& b) {
  return {detail::chained(a, "||", b, Binding::either), Binding::either};
}

inline Int operator-(const Int& a) {
  return {detail::negated(a), Binding::prefix};
}
inline Int operator+(const Int& a, const Int& b) {
  return {detail::chained(a, "+", b, Binding::sum), Binding::sum};
}
inline Int operator-(const Int& a, const Int& b) {
  return {detail::chained(a, "-", b, Binding::sum), Binding::sum};
}
inline Int operator*(const Int& a, const Int& b) {
  return {detail::chained(a, "*", b, Binding::product), Binding::product};
}
// Rounds down; a // 0 is 0.
inline Int floor_divide(const Int& a, const Int& b) {
  return {detail::chained(a, "//", b, Binding::product), Binding::product};
}
// Has the sign of b; a % 0 is a.
inline Int operator%(const Int& a, const Int& b) {
  return {detail::chained(a, "%", b, Binding::product), Binding::product};
}

inline Real operator-(const Real& a) {
  return {detail::negated(a), Binding::prefix};
}
inline Real operator+(const Real& a, const Real& b) {
  return {detail::chained(a, "+", b, Binding::sum), Binding::sum};
}
inline Real operator-(const Real& a, const Real& b) {
  return {detail::chained(a, "-", b, Binding::sum), Binding::sum};
}
inline Real operator*(const Real& a, const Real& b) {
  return {detail::chained(a, "*", b, Binding::product), Binding::product};
}
inline Real operator/(const Real& a, const Real& b) {
  return {detail::chained(a, "/", b, Binding::product), Binding::product};
}
Int operator/(const Int& a, const Int& b) = delete;  // floor_divide, or Real(a) / b

inline Bool operator<(const Int& a, const Int& b) {
  return {detail::unchained(a, "<", b, Binding::comparison), Binding::comparison};
}
inline Bool operator<=(const Int& a, const Int& b) {
  return {detail::unchained(a, "<=", b, Binding::comparison), Binding::comparison};
}
inline Bool operator>(const Int& a, const Int& b) {
  return {detail::unchained(a, ">", b, Binding::comparison), Binding::comparison};
}
inline Bool operator>=(const Int& a, const Int& b) {
  return {detail::unchained(a, ">=", b, Binding::comparison), Binding::comparison};
}
inline Bool operator==(const Int& a, const Int& b) {
  return {detail::unchained(a, "==", b, Binding::equality), Binding::equality};
}
inline Bool operator!=(const Int& a, const Int& b) {
  return {detail::unchained(a, "!=", b, Binding::equality), Binding::equality};
}
inline Bool operator<(const Real& a, const Real& b) {
  return {detail::unchained(a, "<", b, Binding::comparison), Binding::comparison};
}
inline Bool operator<=(const Real& a, const Real& b) {
  return {detail::unchained(a, "<=", b, Binding::comparison), Binding::comparison};
}
inline Bool operator>(const Real& a, const Real& b) {
  return {detail::unchained(a, ">", b, Binding::comparison), Binding::comparison};
}
inline Bool operator>=(const Real& a, const Real& b) {
  return {detail::unchained(a, ">=", b, Binding::comparison), Binding::comparison};
}
inline Bool operator==(const Real& a, const Real& b) {
  return {detail::unchained(a, "==", b, Binding::equality), Binding::equality};
}
inline Bool operator!=(const Real& a, const Real& b) {
  return {detail::unchained(a, "!=", b, Binding::equality), Binding::equality};
}
inline Bool operator==(const Bool& a, const Bool& b) {
  return {detail::unchained(a, "==", b, Binding::equality), Binding::equality};
}
inline Bool operator!=(const Bool& a, const Bool& b) {
  return {detail::unchained(a, "!=", b, Binding::equality), Binding::equality};
}

inline Int abs(const Int& a) {
  return {detail::call("abs", a), Binding::atom};
}
inline Int min(const Int& a, const Int& b) {
  return {detail::call("min", a, b), Binding::atom};
}
inline Int max(const Int& a, const Int& b) {
  return {detail::call("max", a, b), Binding::atom};
}
inline Real abs(const Real& a) {
  return {detail::call("abs", a), Binding::atom};
}
inline Real min(const Real& a, const Real& b) {
  return {detail::call("min", a, b), Binding::atom};
}
inline Real max(const Real& a, const Real& b) {
  return {detail::call("max", a, b), Binding::atom};
}
inline Real sqrt(const Real& a) {
  return {detail::call("sqrt", a), Binding::atom};
}

// In score expressions only.
inline Real tanh(const Real& a) {
  return {detail::call("tanh", a), Binding::atom};
}
inline Real exp(const Real& a) {
  return {detail::call("exp", a), Binding::atom};
}
inline Real log(const Real& a) {
  return {detail::call("log", a), Binding::atom};
}

// condition ? yes : no
inline Bool select(const Bool& condition, const Bool& yes, const Bool& no) {
  return {detail::choice(condition, yes, no), Binding::select};
}
inline Int select(const Bool& condition, const Int& yes, const Int& no) {
  return {detail::choice(condition, yes, no), Binding::select};
}
inline Real select(const Bool& condition, const Real& yes, const Real& no) {
  return {detail::choice(condition, yes, no), Binding::select};
}

}  // namespace expr

using MaskOptions = Sized<pagoda_mask_options>;
using BlockMask = Sized<pagoda_block_mask>;

// A mask or score expression and what its names hold.
//
//     Expression window = Expression::mask("q >= k && q - k < w", {{"w", PAGODA_NAME_INT, 0}});
//     window.set("w", 1024);
class Expression {
 public:
  static Expression mask(const std::string& text, const std::vector<pagoda_name>& names = {}) {
    return {PAGODA_EXPR_MASK, text, names};
  }
  static Expression score(const std::string& text, const std::vector<pagoda_name>& names = {}) {
    return {PAGODA_EXPR_SCORE, text, names};
  }
  // See pagoda_expr_from_gallery.
  static Expression sample(const std::string& text, int32_t num_reqs, int32_t max_seq_len,
                           int32_t num_heads) {
    pagoda_expr* raw = nullptr;
    check(pagoda_expr_from_gallery(text.c_str(), num_reqs, max_seq_len, num_heads, &raw));
    return Expression(raw);
  }

  template <std::integral Value>
  void set(const std::string& name, Value value) {
    check(pagoda_expr_set_int(get(), name.c_str(), static_cast<int64_t>(value)));
  }
  template <std::floating_point Value>
  void set(const std::string& name, Value value) {
    check(pagoda_expr_set_float(get(), name.c_str(), static_cast<float>(value)));
  }
  // data: packed, `shape` elements, borrowed until it is set again
  void set_table(const std::string& name, const int32_t* data, const std::vector<int64_t>& shape,
                 int64_t outside = 0) {
    check(pagoda_expr_set_int_table(get(), name.c_str(), data, shape.data(),
                                    static_cast<int32_t>(shape.size()), outside));
  }
  void set_table(const std::string& name, const float* data, const std::vector<int64_t>& shape,
                 float outside = 0) {
    check(pagoda_expr_set_float_table(get(), name.c_str(), data, shape.data(),
                                      static_cast<int32_t>(shape.size()), outside));
  }

  pagoda_expr* get() const noexcept { return handle_.get(); }

 private:
  Expression(pagoda_expr_kind kind, const std::string& text,
             const std::vector<pagoda_name>& names) {
    Sized<pagoda_expr_options> options;
    options.kind = kind;
    options.text = text.c_str();
    options.names = names.data();
    options.num_names = static_cast<int32_t>(names.size());
    pagoda_expr* raw = nullptr;
    check(pagoda_expr_create(&options, &raw));
    handle_.reset(raw);
  }
  explicit Expression(pagoda_expr* raw) : handle_(raw) {}

  struct Destroy {
    void operator()(pagoda_expr* expr) const { pagoda_expr_destroy(expr); }
  };
  std::unique_ptr<pagoda_expr, Destroy> handle_;
};

// The block masks of one expression, step after step, in memory of its own that grows to what the
// largest step needs. The expression outlives it.
class MaskBuilder {
 public:
  MaskBuilder(const Expression& expression, const MaskOptions& options) {
    pagoda_mask* raw = nullptr;
    check(pagoda_mask_create(expression.get(), &options, &raw));
    handle_.reset(raw);
  }

  // Valid until the next build.
  const BlockMask& build(const Batch& batch) {
    Status status = build_into(batch);
    if (status == PAGODA_WORKSPACE_TOO_SMALL) {
      grow(batch);
      status = build_into(batch);
    }
    check(status);
    return mask_;
  }

  // Of the last build, whose batch is given once more.
  std::string draw(const Batch& batch, const Sized<pagoda_picture_options>& options) const {
    return text_of([&](char* buffer, size_t size) {
      return pagoda_mask_draw(&mask_, &batch, &options, buffer, size);
    });
  }

 private:
  static constexpr size_t kAlign = 64;

  Status build_into(const Batch& batch) {
    return pagoda_mask_build(handle_.get(), &batch, &capacity_, aligned(), &mask_);
  }

  void* aligned() const {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return memory_.get() + (kAlign - address % kAlign) % kAlign;
  }

  // A quarter more than the step needs, so that a sequence that grows does not ask again at once.
  void grow(const Batch& batch) {
    Sized<pagoda_mask_capacity> need;
    check(pagoda_mask_measure(handle_.get(), &batch, &need));
    const auto more = [](int64_t had, int64_t wanted) {
      return had >= wanted ? had : wanted + wanted / 4;
    };
    capacity_.reqs = more(capacity_.reqs, need.reqs);
    capacity_.rows = more(capacity_.rows, need.rows);
    capacity_.entries = more(capacity_.entries, need.entries);
    capacity_.words = more(capacity_.words, need.words);
    memory_.reset(new unsigned char[pagoda_mask_bytes(&capacity_) + kAlign]);
  }

  struct Destroy {
    void operator()(pagoda_mask* mask) const { pagoda_mask_destroy(mask); }
  };
  std::unique_ptr<pagoda_mask, Destroy> handle_;
  Sized<pagoda_mask_capacity> capacity_;
  std::unique_ptr<unsigned char[]> memory_;
  BlockMask mask_;
};

}  // namespace v1
}  // namespace pagoda

#include "analyzer.h"

#include <algorithm>
#include <bit>

#include "ops.h"
#include "semantics.h"

namespace pagoda::mask {

Box box_of(const Point& point) {
  Box box{};
  for (int i = 0; i < kNumVariables - 1; ++i) box.low[i] = box.high[i] = point.variables[i];
  return box;
}

namespace {

bool is_narrow(const IntForm& form) {
  return form.low >= std::numeric_limits<int32_t>::min() &&
         form.high <= std::numeric_limits<int32_t>::max();
}

}  // namespace

Analyzer::Analyzer(const Program& program, const Bindings& bindings)
    : program_(program), bindings_(bindings), own_(program.code.size()), forms_(own_) {}

Analyzer::Analyzer(const Program& program, const Bindings& bindings, std::byte* memory)
    : program_(program),
      bindings_(bindings),
      forms_(reinterpret_cast<Form*>(memory), program.code.size()) {
  std::fill(forms_.begin(), forms_.end(), Form{});
}

void Analyzer::set_request(const Box& request) {
  box_ = request;
  run(Rank::uniform);
}

void Analyzer::set_queries(int64_t first, int64_t last) {
  box_.set(Variable::query, first, last);
  run(Rank::row);
}

Truth Analyzer::decide(int64_t first_key, int64_t last_key) {
  box_.set(Variable::key, first_key, last_key);
  run(Rank::key);
  // A part that ends the question leaves the forms behind it as they were: nobody asks for the
  // pruning of what is decided.
  for (int32_t index : program_.by_rank[static_cast<int>(Rank::element)]) {
    const Instr& instr = program_.code[static_cast<size_t>(index)];
    Form& form = forms_[static_cast<size_t>(index)];
    update(instr, form);
    if (instr.is_required && form.truth == Truth::empty) return Truth::empty;
  }
  return forms_.back().truth;
}

// a && b is b where a is full, and a || b is b where a is empty.
int32_t Analyzer::effective_root() const {
  auto root = static_cast<int32_t>(forms_.size()) - 1;
  for (;;) {
    const Instr& instr = program_.code[static_cast<size_t>(root)];
    if (instr.op != Op::logical_and && instr.op != Op::logical_or) return root;
    const Truth neutral = instr.op == Op::logical_and ? Truth::full : Truth::empty;
    if (arg(instr, 0).truth == neutral)
      root = instr.args[1];
    else if (arg(instr, 1).truth == neutral)
      root = instr.args[0];
    else
      return root;
  }
}

// Whether the value may differ between the queries of the box, its arguments left aside where those
// are asked themselves.
bool Analyzer::rows_differ(const Instr& instr, const Form& form) const {
  if (instr.rank == Rank::key) return false;
  if (instr.rank == Rank::element) return instr.mode == Mode::linear || instr.args[0] < 0;
  return !stands_still(instr, form);
}

bool Analyzer::stands_still(const Instr& instr, const Form& form) const {
  if (instr.type == Type::integer) return form.i.low == form.i.high;
  if (instr.op == Op::constant) return true;
  // A zero has either sign, which a divisor does not hide.
  if (instr.type == Type::real)
    return !form.f.may_be_nan && form.f.low == form.f.high && form.f.low != 0;
  return form.truth != Truth::undecided;
}

bool Analyzer::is_steady(int64_t first_query, int64_t last_query) {
  set_queries(first_query, last_query);
  const std::vector<int32_t>& rows = program_.by_rank[static_cast<int>(Rank::row)];
  return std::all_of(rows.begin(), rows.end(), [this](int32_t index) {
    const Instr& instr = program_.code[static_cast<size_t>(index)];
    const Form& form = forms_[static_cast<size_t>(index)];
    return stands_still(instr, form) || (instr.type == Type::integer && is_exact(form.i));
  });
}

// Whether the truth at each pair of the box is a function of q - k: from the leaves up, what stands
// still is, what is linear in q - k is, and so is whatever is computed from such.
bool Analyzer::depends_on_distance(int32_t root) const {
  uint64_t of_distance = 0;
  const auto is = [&](int32_t index) { return (of_distance >> index & 1) != 0; };
  for (int32_t index = 0; index <= root; ++index) {
    const Instr& instr = program_.code[static_cast<size_t>(index)];
    const Form& form = forms_[static_cast<size_t>(index)];
    bool yes = stands_still(instr, form);
    if (!yes && instr.type == Type::integer)
      yes = is_exact(form.i) && form.i.per_q == wrap_negate(form.i.per_k);
    if (!yes && instr.args[0] >= 0) {
      yes = true;
      for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i) yes &= is(instr.args[i]);
    }
    if (!yes && is_comparison(instr.op) && instr.arg_type == Type::integer)
      yes = difference_is_of_distance(arg(instr, 0).i, arg(instr, 1).i, box_);
    of_distance |= static_cast<uint64_t>(yes) << index;
  }
  return is(root);
}

Pruning Analyzer::pruning() const {
  Pruning pruning{.needed = 0, .full = 0, .empty = 0, .narrow = true, .root = effective_root()};
  if (pruning.root >= kPrunable) {  // nothing is left out
    pruning.needed = ~uint64_t{0};
    pruning.narrow = all_narrow();
    return pruning;
  }
  // Readers come after what they read, so one pass from the end sees every need. What stands
  // still over the box is computed, but what it is computed from does not make rows differ.
  uint64_t shows = uint64_t{1} << pruning.root;
  pruning.needed = shows;
  pruning.same_rows = true;
  for (int32_t index = pruning.root; index >= 0; --index) {
    const uint64_t bit = uint64_t{1} << index;
    if ((pruning.needed & bit) == 0) continue;
    const Instr& instr = program_.code[static_cast<size_t>(index)];
    const Form& form = forms_[static_cast<size_t>(index)];
    const bool has_bits = instr.mode == Mode::bits || instr.mode == Mode::threshold;
    if (has_bits && form.truth != Truth::undecided) {
      (form.truth == Truth::full ? pruning.full : pruning.empty) |= bit;
      pruning.needed &= ~bit;
      continue;
    }
    if (instr.type == Type::integer && !is_narrow(form.i)) pruning.narrow = false;
    const bool is_shown = (shows & bit) != 0;
    if (is_shown && rows_differ(instr, form)) pruning.same_rows = false;
    const bool passes_on = is_shown && (static_cast<int>(instr.rank) & 2) != 0;
    for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i) {
      pruning.needed |= uint64_t{1} << instr.args[i];
      if (passes_on) shows |= uint64_t{1} << instr.args[i];
    }
  }
  pruning.same_distance = !pruning.same_rows && depends_on_distance(pruning.root);
  return pruning;
}

bool Analyzer::all_narrow() const {
  for (size_t i = 0; i < forms_.size(); ++i)
    if (program_.code[i].type == Type::integer && !is_narrow(forms_[i].i)) return false;
  return true;
}

void Analyzer::run(Rank rank) {
  for (int32_t index : program_.by_rank[static_cast<int>(rank)])
    update(program_.code[static_cast<size_t>(index)], forms_[static_cast<size_t>(index)]);
}

// Of a form only the part of its type is ever read, so only that is written.
void Analyzer::update(const Instr& instr, Form& form) const {
  if (instr.args[0] < 0) return update_leaf(instr, form);
  if (instr.op == Op::lookup) return look_up(instr, form);
  if (instr.op == Op::select) return select(instr, form);
  const Form& a = arg(instr, 0);
  const Form& b = instr.args[1] < 0 ? a : arg(instr, 1);
  const bool is_binary = instr.args[1] >= 0;
  if (instr.type == Type::boolean)
    form.truth = truth_of(instr, a, b);
  else if (instr.type == Type::integer)
    form.i = is_binary ? binary(instr.op, a.i, b.i, box_) : unary(instr.op, a.i);
  else if (instr.op == Op::to_real)
    form.f = to_real(a.i);
  else
    form.f = is_binary ? binary(instr.op, a.f, b.f) : unary(instr.op, a.f);
}

Truth Analyzer::truth_of(const Instr& instr, const Form& a, const Form& b) const {
  if (instr.op == Op::logical_not) return negated(a.truth);
  if (instr.op == Op::logical_and) return conjunction(a.truth, b.truth);
  if (instr.op == Op::logical_or) return disjunction(a.truth, b.truth);
  if (instr.arg_type == Type::integer) return compare(instr.op, a.i, b.i, box_);
  if (instr.arg_type == Type::real) return compare(instr.op, a.f, b.f);
  if (a.truth == Truth::undecided || b.truth == Truth::undecided) return Truth::undecided;
  return (a.truth == b.truth) == (instr.op == Op::equal) ? Truth::full : Truth::empty;
}

void Analyzer::update_leaf(const Instr& instr, Form& form) const {
  if (instr.op == Op::variable) {
    const auto which = static_cast<Variable>(instr.value);
    if (which == Variable::score) {
      form.f = any_real();
      return;
    }
    form.i = between(box_.low_of(which), box_.high_of(which));
    // A variable that stands still needs no linear form.
    if (form.i.low == form.i.high) return;
    if (which == Variable::query) form.i = {form.i.low, form.i.high, 1, 0, 0, 0};
    if (which == Variable::key) form.i = {form.i.low, form.i.high, 0, 1, 0, 0};
    if (which == Variable::seq_len && box_.ends_with_query)
      form.i = {form.i.low, form.i.high, 1, 0, 1, 1};
    return;
  }
  const bool fixed = instr.op == Op::constant;
  const Value value = fixed ? Value{.i = instr.value} : bindings_.parameter(instr.value);
  const float real = fixed ? std::bit_cast<float>(static_cast<int32_t>(instr.value)) : value.f;
  form.i = between(value.i, value.i);
  form.f = real != real ? any_real() : RealForm{real, real, false};
  form.truth = value.i != 0 ? Truth::full : Truth::empty;
}

void Analyzer::look_up(const Instr& instr, Form& form) const {
  const Table& table = bindings_.table(instr.value);
  const int num_dims = bindings_.table_symbol(instr.value).num_dims;
  // The elements that the indices may reach lie between the first and the last corner.
  int64_t first = 0, last = 0;
  bool may_miss = false, may_hit = true;
  for (int d = 0; d < num_dims; ++d) {
    const IntForm& index = arg(instr, d).i;
    const int64_t size = table.shape[d];
    may_miss |= index.low < 0 || index.high >= size;
    may_hit &= index.low < size && index.high >= 0;
    first = first * size + std::clamp<int64_t>(index.low, 0, std::max<int64_t>(size - 1, 0));
    last = last * size + std::clamp<int64_t>(index.high, 0, std::max<int64_t>(size - 1, 0));
  }
  may_hit &= table.size() > 0;
  if (instr.type == Type::real) {
    form.f = {table.outside.f, table.outside.f, false};
    if (table.may_be_nan) {
      form.f = any_real();
    } else if (may_hit) {
      const auto found =
          table.ranges.extent(static_cast<const float*>(table.data), first, last + 1);
      const RealForm hit{found.low, found.high, false};
      form.f = may_miss ? hull(form.f, hit) : hit;
    }
    return;
  }
  form.i = between(table.outside.i, table.outside.i);
  if (!may_hit) return;
  const auto found = table.ranges.extent(static_cast<const int32_t*>(table.data), first, last + 1);
  const IntForm hit = between(found.low, found.high);
  form.i = may_miss ? hull(form.i, hit) : hit;
}

void Analyzer::select(const Instr& instr, Form& form) const {
  const Truth condition = arg(instr, 0).truth;
  const Form &yes = arg(instr, 1), &no = arg(instr, 2);
  if (condition != Truth::undecided) {
    form = condition == Truth::full ? yes : no;
    return;
  }
  if (instr.type == Type::integer) form.i = hull(yes.i, no.i);
  if (instr.type == Type::real) form.f = hull(yes.f, no.f);
  if (instr.type == Type::boolean)
    form.truth = yes.truth == no.truth ? yes.truth : Truth::undecided;
}

}  // namespace pagoda::mask

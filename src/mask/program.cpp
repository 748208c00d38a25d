#include "program.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "ops.h"
#include "semantics.h"

namespace pagoda::mask {
namespace {

using Code = std::vector<Instr>;

const Instr& arg(const Code& code, const Instr& instr, int i) {
  return code[static_cast<size_t>(instr.args[i])];
}

Rank rank_of(const Code& code, const Instr& instr) {
  if (instr.op == Op::variable) {
    const auto which = static_cast<Variable>(instr.value);
    if (which == Variable::score) return Rank::element;
    return which == Variable::query ? Rank::row
           : which == Variable::key ? Rank::key
                                    : Rank::uniform;
  }
  int rank = 0;
  for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i)
    rank |= static_cast<int>(arg(code, instr, i).rank);
  return static_cast<Rank>(rank);
}

bool by_key(const Instr& instr) {
  return (static_cast<int>(instr.rank) & 2) != 0;
}

// A scalar integer is linear with slope 0.
bool is_linear(const Instr& instr) {
  return instr.type == Type::integer && (instr.mode == Mode::linear || instr.mode == Mode::scalar);
}

bool is_literal(const Instr& instr) {
  return instr.op == Op::constant && instr.type == Type::integer;
}

// Wrapping multiplication by a constant is linear modulo 2^64, so slopes wrap as values do.
bool find_slope(const Code& code, const Instr& instr, int64_t* slope) {
  if (instr.op == Op::variable) {
    *slope = 1;
    return true;
  }
  for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i)
    if (!is_linear(arg(code, instr, i))) return false;
  const int64_t a = instr.args[0] < 0 ? 0 : arg(code, instr, 0).slope;
  const int64_t b = instr.args[1] < 0 ? 0 : arg(code, instr, 1).slope;
  switch (instr.op) {
    case Op::negate:
      *slope = wrap_negate(a);
      return true;
    case Op::add:
      *slope = wrap_add(a, b);
      return true;
    case Op::subtract:
      *slope = wrap_subtract(a, b);
      return true;
    case Op::multiply:
      if (is_literal(arg(code, instr, 1))) {
        *slope = wrap_multiply(a, arg(code, instr, 1).value);
        return true;
      }
      if (is_literal(arg(code, instr, 0))) {
        *slope = wrap_multiply(b, arg(code, instr, 0).value);
        return true;
      }
      return false;
    default:
      return false;
  }
}

// A lookup whose last index walks with k, the others standing still.
bool is_run(const Code& code, const Instr& instr) {
  if (instr.op != Op::lookup) return false;
  int last = kMaxArgs - 1;
  while (instr.args[last] < 0) --last;
  for (int i = 0; i < last; ++i)
    if (arg(code, instr, i).mode != Mode::scalar) return false;
  return arg(code, instr, last).mode == Mode::linear && arg(code, instr, last).slope == 1;
}

// A division, or its rest, of what is linear in k alone by what does not depend on q or k.
bool is_periodic(const Code& code, const Instr& instr) {
  if (instr.type != Type::integer || instr.rank != Rank::key) return false;
  if (instr.op != Op::modulo && instr.op != Op::floor_divide) return false;
  return arg(code, instr, 0).mode == Mode::linear && arg(code, instr, 1).rank == Rank::uniform;
}

// What is known of the keys of a stretch.
enum class Stretch : uint8_t { in_order, within_period, dealt };

Mode mode_of(const Code& code, Instr& instr, Stretch stretch) {
  if (!by_key(instr)) return Mode::scalar;
  if (stretch == Stretch::dealt && instr.op == Op::variable && instr.type == Type::integer)
    return Mode::lanes;
  if (stretch == Stretch::within_period && is_periodic(code, instr)) {
    instr.is_periodic = true;
    instr.slope = instr.op == Op::modulo ? arg(code, instr, 0).slope : 0;
    return Mode::linear;
  }
  if (instr.type == Type::integer && find_slope(code, instr, &instr.slope)) return Mode::linear;
  if (is_run(code, instr)) return Mode::run;
  if (instr.type != Type::boolean) return Mode::lanes;
  const bool threshold =
      is_comparison(instr.op) && is_linear(arg(code, instr, 0)) && is_linear(arg(code, instr, 1));
  return threshold ? Mode::threshold : Mode::bits;
}

void mark_readers(Code& code) {
  for (const Instr& instr : code) {
    if (instr.mode != Mode::lanes && instr.mode != Mode::bits) continue;
    for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i) {
      Instr& source = code[static_cast<size_t>(instr.args[i])];
      if (source.mode == Mode::linear) source.needs_lanes = true;
    }
  }
}

void mark_required(Code& code) {
  code.back().is_required = code.back().type == Type::boolean;
  for (size_t i = code.size(); i-- > 0;)
    for (int a = 0; code[i].is_required && code[i].op == Op::logical_and && a < 2; ++a)
      code[static_cast<size_t>(code[i].args[a])].is_required = true;
}

// What the root needs, directly or not.
std::vector<bool> live(const Code& code) {
  std::vector<bool> is_live(code.size(), false);
  is_live.back() = true;
  for (size_t i = code.size(); i-- > 0;)
    for (int a = 0; is_live[i] && a < kMaxArgs && code[i].args[a] >= 0; ++a)
      is_live[static_cast<size_t>(code[i].args[a])] = true;
  return is_live;
}

void place(Program& program) {
  const std::vector<bool> is_live = live(program.code);
  for (size_t i = 0; i < program.code.size(); ++i) {
    if (!is_live[i]) continue;
    Instr& instr = program.code[i];
    const auto index = static_cast<int32_t>(i);
    program.by_rank[static_cast<int>(instr.rank)].push_back(index);
    // Constants, and k itself, have the same scalar for ever.
    const bool fixed = instr.op == Op::constant || (instr.op == Op::variable && by_key(instr));
    if (!fixed && (instr.mode == Mode::scalar || instr.mode == Mode::linear))
      program.scalars[static_cast<int>(instr.rank) & 1].push_back(index);
    const bool stored =
        instr.mode != Mode::scalar && (instr.mode != Mode::linear || instr.needs_lanes);
    if (!stored) continue;
    program.vectors[instr.rank == Rank::element ? 1 : 0].push_back(index);
    instr.buffer =
        instr.type == Type::boolean ? program.num_bit_buffers++ : program.num_lane_buffers++;
  }
}

class Compiler {
 public:
  Compiler(Program& program, Stretch stretch)
      : program_(program), code_(program.code), stretch_(stretch) {}

  // Returns the index of the node's value.
  int32_t add(const Node& node, const std::vector<int32_t>& place_of) {
    int32_t args[kMaxArgs] = {-1, -1, -1};
    for (int i = 0; i < kMaxArgs && node.args[i] >= 0; ++i)
      args[i] = place_of[static_cast<size_t>(node.args[i])];
    const bool is_order = node.op == Op::less || node.op == Op::less_equal ||
                          node.op == Op::greater || node.op == Op::greater_equal;
    for (int side = 0; is_order && side < 2; ++side)
      if (is_absolute(args[side])) return compare_absolute(node.op, args, side);
    return emit(node.op, node.type, args, node.value);
  }

 private:
  bool is_absolute(int32_t index) const {
    const Instr& instr = code_[static_cast<size_t>(index)];
    return instr.op == Op::absolute && instr.type == Type::integer;
  }

  // Both signs have to be below what abs is below; one of them above what it is above.
  int32_t compare_absolute(Op op, const int32_t (&args)[kMaxArgs], int side) {
    const int32_t inside = code_[static_cast<size_t>(args[side])].args[0];
    const int32_t negated = emit(Op::negate, Type::integer, {inside, -1, -1}, 0);
    int32_t parts[2];
    for (int i = 0; i < 2; ++i) {
      int32_t own[kMaxArgs] = {args[0], args[1], -1};
      own[side] = i == 0 ? inside : negated;
      parts[i] = emit(op, Type::boolean, own, 0);
    }
    const bool is_below = (op == Op::less || op == Op::less_equal) == (side == 0);
    return emit(is_below ? Op::logical_and : Op::logical_or, Type::boolean,
                {parts[0], parts[1], -1}, 0);
  }

  int32_t emit(Op op, Type type, const int32_t (&args)[kMaxArgs], int64_t value) {
    Instr instr{.op = op,
                .type = type,
                .arg_type = type,
                .rank = Rank::uniform,
                .mode = Mode::scalar,
                .needs_lanes = false,
                .is_required = false,
                .is_periodic = false,
                .args = {args[0], args[1], args[2]},
                .value = value,
                .slope = 0,
                .buffer = -1};
    const auto [at, is_new] = known_.emplace(Key{op, type, args[0], args[1], args[2], value},
                                             static_cast<int32_t>(code_.size()));
    if (!is_new) return at->second;
    if (op == Op::variable) program_.variables |= 1u << value;
    if (args[0] >= 0) instr.arg_type = arg(code_, instr, op == Op::select ? 1 : 0).type;
    instr.rank = rank_of(code_, instr);
    instr.mode = mode_of(code_, instr, stretch_);
    code_.push_back(instr);
    return at->second;
  }

  using Key = std::tuple<Op, Type, int32_t, int32_t, int32_t, int64_t>;
  Program& program_;
  Code& code_;
  const Stretch stretch_;
  std::map<Key, int32_t> known_;
};

Program compile_as(const Expr& expr, Stretch stretch) {
  Program program;
  Compiler compiler(program, stretch);
  std::vector<int32_t> place_of;
  for (const Node& node : expr.nodes) place_of.push_back(compiler.add(node, place_of));
  mark_readers(program.code);
  mark_required(program.code);
  place(program);
  return program;
}

}  // namespace

Program compile(const Expr& expr, KeyOrder order) {
  if (order == KeyOrder::dealt) return compile_as(expr, Stretch::dealt);
  Program program = compile_as(expr, Stretch::in_order);
  auto within_period = std::make_unique<Program>(compile_as(expr, Stretch::within_period));
  const Code& code = within_period->code;
  if (std::any_of(code.begin(), code.end(), [](const Instr& instr) { return instr.is_periodic; }))
    program.within_period = std::move(within_period);
  return program;
}

}  // namespace pagoda::mask

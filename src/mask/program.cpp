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

Mode mode_of(const Code& code, Instr& instr) {
  if (!by_key(instr)) return Mode::scalar;
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

void place(Program& program) {
  for (size_t i = 0; i < program.code.size(); ++i) {
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

}  // namespace

Program compile(const Expr& expr) {
  using Key = std::tuple<Op, Type, int32_t, int32_t, int32_t, int64_t>;
  Program program;
  Code& code = program.code;
  std::map<Key, int32_t> known;
  std::vector<int32_t> place_of(expr.nodes.size());
  for (size_t n = 0; n < expr.nodes.size(); ++n) {
    const Node& node = expr.nodes[n];
    Instr instr{.op = node.op,
                .type = node.type,
                .arg_type = node.type,
                .rank = Rank::uniform,
                .mode = Mode::scalar,
                .needs_lanes = false,
                .args = {-1, -1, -1},
                .value = node.value,
                .slope = 0,
                .buffer = -1};
    for (int i = 0; i < kMaxArgs && node.args[i] >= 0; ++i)
      instr.args[i] = place_of[static_cast<size_t>(node.args[i])];
    const Key key{node.op, node.type, instr.args[0], instr.args[1], instr.args[2], node.value};
    const auto [at, is_new] = known.emplace(key, static_cast<int32_t>(code.size()));
    place_of[n] = at->second;
    if (!is_new) continue;
    if (node.op == Op::variable) program.variables |= 1u << node.value;
    if (instr.args[0] >= 0) instr.arg_type = arg(code, instr, node.op == Op::select ? 1 : 0).type;
    instr.rank = rank_of(code, instr);
    instr.mode = mode_of(code, instr);
    code.push_back(instr);
  }
  mark_readers(code);
  place(program);
  return program;
}

}  // namespace pagoda::mask

#include "score_steps.h"

#include <algorithm>
#include <bit>
#include <climits>

#include "../mask/ops.h"

namespace pagoda::cpu {
namespace {

using mask::Op;
using mask::Type;
using mask::Variable;

size_t aligned(size_t size) {
  return (size + 63) / 64 * 64;
}

ScoreOp float_op(Op op) {
  switch (op) {
    case Op::negate:
      return ScoreOp::negate_f;
    case Op::absolute:
      return ScoreOp::absolute_f;
    case Op::sqrt:
      return ScoreOp::sqrt_f;
    case Op::tanh:
      return ScoreOp::tanh_f;
    case Op::exp:
      return ScoreOp::exp_f;
    case Op::add:
      return ScoreOp::add_f;
    case Op::subtract:
      return ScoreOp::subtract_f;
    case Op::multiply:
      return ScoreOp::multiply_f;
    case Op::divide:
      return ScoreOp::divide_f;
    case Op::minimum:
      return ScoreOp::minimum_f;
    case Op::maximum:
      return ScoreOp::maximum_f;
    case Op::less:
    case Op::greater:
      return ScoreOp::less_f;
    case Op::less_equal:
    case Op::greater_equal:
      return ScoreOp::less_equal_f;
    case Op::equal:
      return ScoreOp::equal_f;
    case Op::not_equal:
      return ScoreOp::not_equal_f;
    default:
      return ScoreOp::none;
  }
}

ScoreOp integer_op(Op op) {
  switch (op) {
    case Op::to_real:
      return ScoreOp::to_float;
    case Op::negate:
      return ScoreOp::negate_i;
    case Op::absolute:
      return ScoreOp::absolute_i;
    case Op::add:
      return ScoreOp::add_i;
    case Op::subtract:
      return ScoreOp::subtract_i;
    case Op::multiply:
      return ScoreOp::multiply_i;
    case Op::floor_divide:
      return ScoreOp::floor_divide_i;
    case Op::modulo:
      return ScoreOp::modulo_i;
    case Op::minimum:
      return ScoreOp::minimum_i;
    case Op::maximum:
      return ScoreOp::maximum_i;
    case Op::less:
    case Op::greater:
      return ScoreOp::less_i;
    case Op::less_equal:
    case Op::greater_equal:
      return ScoreOp::less_equal_i;
    case Op::equal:
      return ScoreOp::equal_i;
    case Op::not_equal:
      return ScoreOp::not_equal_i;
    default:
      return ScoreOp::none;
  }
}

ScoreOp boolean_op(Op op) {
  switch (op) {
    case Op::logical_not:
      return ScoreOp::not_b;
    case Op::logical_and:
      return ScoreOp::and_b;
    case Op::logical_or:
      return ScoreOp::or_b;
    case Op::equal:
      return ScoreOp::equal_b;
    case Op::not_equal:
      return ScoreOp::not_equal_b;
    default:
      return ScoreOp::none;
  }
}

ScoreOp op_of(Op op, Type argument) {
  if (op == Op::select) return ScoreOp::select;
  if (op == Op::lookup) return ScoreOp::lookup;
  if (argument == Type::boolean) return boolean_op(op);
  return argument == Type::real ? float_op(op) : integer_op(op);
}

bool is_score(const mask::Instr& instr) {
  return instr.op == Op::variable && instr.value == static_cast<int64_t>(Variable::score);
}

uint32_t word_of(Type type, const mask::Value& value) {
  if (type == Type::real) return std::bit_cast<uint32_t>(value.f);
  if (type == Type::boolean) return value.i != 0 ? ~0u : 0u;
  return static_cast<uint32_t>(value.i);
}

}  // namespace

size_t ScoreStepper::bytes(const mask::Program& program) {
  const size_t n = program.code.size();
  if (n > kMaxInstrs) return 0;
  return kMaxUnits * kUnitWords * sizeof(uint32_t) + aligned(n * sizeof(ScoreStep)) +
         n * sizeof(uint32_t) * kRowSlots * kRowPadding +
         n * sizeof(uint32_t) * kKeySlots * kTileKeys + n * kTileKeys * sizeof(mask::Value);
}

void ScoreStepper::lay_out(std::byte* memory) {
  const auto n = static_cast<size_t>(num_instrs_);
  const auto take = [&](size_t size) {
    std::byte* it = memory;
    memory += size;
    return it;
  };
  steps_.units = reinterpret_cast<uint32_t*>(take(kMaxUnits * kUnitWords * sizeof(uint32_t)));
  code_ = reinterpret_cast<ScoreStep*>(take(aligned(n * sizeof(ScoreStep))));
  row_words_ = reinterpret_cast<uint32_t*>(take(n * kRowSlots * kRowPadding * sizeof(uint32_t)));
  key_words_ = reinterpret_cast<uint32_t*>(take(n * kKeySlots * kTileKeys * sizeof(uint32_t)));
  columns_ = reinterpret_cast<mask::Value*>(take(n * kTileKeys * sizeof(mask::Value)));
}

ScoreStepper::ScoreStepper(const mask::Program& program, const mask::Bindings& bindings,
                           const Shard& shard, std::byte* memory)
    : program_(program),
      bindings_(bindings),
      shard_(shard),
      num_instrs_(static_cast<int>(program.code.size())),
      free_units_((1u << kMaxUnits) - 2) {
  if (num_instrs_ > kMaxInstrs) return;
  lay_out(memory);
  find_sides();
  if (!add_steps()) return;
  mark_needed();
  steps_.steps = code_;
  steps_.of_rows = of_rows;
  steps_.of_keys = of_keys;
  steps_.context = this;
}

// The head is of the row: rows of a group are of several.
void ScoreStepper::find_sides() {
  for (int32_t i = 0; i < num_instrs_; ++i) {
    const mask::Instr& instr = program_.code[static_cast<size_t>(i)];
    int side = kNothing;
    if (instr.op == Op::variable) {
      const auto which = static_cast<Variable>(instr.value);
      if (which == Variable::score) side = kBoth;
      if (which == Variable::query || which == Variable::head) side = kRows;
      if (which == Variable::key) side = kKeys;
    }
    instrs_[i] = {kNothing, 0, -1, {ScoreOperand::From::none, 0}};
    for (int a = 0; a < mask::kMaxArgs && instr.args[a] >= 0; ++a)
      side |= instrs_[instr.args[a]].side;
    instrs_[i].side = static_cast<Side>(side);
  }
  for (int32_t i = num_instrs_; i-- > 0;) {
    const mask::Instr& instr = program_.code[static_cast<size_t>(i)];
    const bool is_live = i == num_instrs_ - 1 || instrs_[i].last_use >= 0;
    for (int a = 0; is_live && a < mask::kMaxArgs && instr.args[a] >= 0; ++a)
      instrs_[instr.args[a]].last_use = std::max(instrs_[instr.args[a]].last_use, i);
  }
}

bool ScoreStepper::add_steps() {
  const int32_t root = num_instrs_ - 1;
  if (instrs_[root].side != kBoth) return false;
  for (int32_t i = 0; i <= root; ++i) {
    if (instrs_[i].side != kBoth || (instrs_[i].last_use < 0 && i != root)) continue;
    if (is_score(program_.code[static_cast<size_t>(i)]))
      instrs_[i].operand = {ScoreOperand::From::unit, 0};
    else if (!add_step(i))
      return false;
  }
  return true;
}

bool ScoreStepper::add_step(int32_t index) {
  const mask::Instr& instr = program_.code[static_cast<size_t>(index)];
  ScoreStep step{};
  step.op = op_of(instr.op, instr.arg_type);
  if (step.op == ScoreOp::none) return false;
  for (int a = 0; a < mask::kMaxArgs && instr.args[a] >= 0; ++a)
    step.args[a] = operand_of(instr.args[a]);
  if (instr.op == Op::greater || instr.op == Op::greater_equal)
    std::swap(step.args[0], step.args[1]);
  if (instr.op == Op::lookup && !set_table(instr, step)) return false;
  release_units(index);  // elements are read before they are written, so a unit may be both
  if (!take_unit(index)) return false;
  step.to = instrs_[index].operand.index;
  code_[steps_.count++] = step;
  return true;
}

bool ScoreStepper::set_table(const mask::Instr& instr, ScoreStep& step) const {
  const mask::Table& table = bindings_.table(instr.value);
  if (table.size() > INT32_MAX) return false;
  step.table = table.data;
  for (int d = 0; d < mask::kMaxArgs; ++d) step.shape[d] = static_cast<int32_t>(table.shape[d]);
  step.outside = word_of(instr.type, table.outside);
  return true;
}

ScoreOperand ScoreStepper::operand_of(int32_t index) {
  Instr& it = instrs_[index];
  if (it.operand.from != ScoreOperand::From::none) return it.operand;
  const bool of_key = it.side == kKeys;
  int32_t& count = of_key ? num_key_values_ : num_row_values_;
  (of_key ? key_values_ : row_values_)[count] = index;
  it.operand = {of_key ? ScoreOperand::From::keys : ScoreOperand::From::rows,
                static_cast<uint8_t>(count++)};
  return it.operand;
}

bool ScoreStepper::take_unit(int32_t index) {
  uint8_t unit = 0;
  if (index != num_instrs_ - 1) {
    if (free_units_ == 0) return false;
    unit = static_cast<uint8_t>(std::countr_zero(free_units_));
    free_units_ &= free_units_ - 1;
  }
  instrs_[index].operand = {ScoreOperand::From::unit, unit};
  return true;
}

// Those that nobody reads after this instruction. The scores' own is kept for the last.
void ScoreStepper::release_units(int32_t index) {
  const mask::Instr& instr = program_.code[static_cast<size_t>(index)];
  for (int a = 0; a < mask::kMaxArgs && instr.args[a] >= 0; ++a) {
    const Instr& it = instrs_[instr.args[a]];
    if (it.operand.from == ScoreOperand::From::unit && it.last_use == index &&
        it.operand.index != 0)
      free_units_ |= 1u << it.operand.index;
  }
}

void ScoreStepper::mark_needed() {
  for (int32_t i = 0; i < num_row_values_; ++i) instrs_[row_values_[i]].needed |= kRows;
  for (int32_t i = 0; i < num_key_values_; ++i) instrs_[key_values_[i]].needed |= kKeys;
  for (int32_t i = num_instrs_; i-- > 0;) {
    const mask::Instr& instr = program_.code[static_cast<size_t>(i)];
    for (int a = 0; a < mask::kMaxArgs && instr.args[a] >= 0; ++a)
      instrs_[instr.args[a]].needed |= instrs_[i].needed;
  }
}

void ScoreStepper::set_item(const ScoreItem& item) {
  item_ = item;
  std::fill(std::begin(row_tags_), std::end(row_tags_), -1);
  std::fill(std::begin(key_tags_), std::end(key_tags_), -1);
}

const uint32_t* ScoreStepper::of_rows(void* self, int32_t first_row, int32_t num_rows) {
  ScoreStepper& it = *static_cast<ScoreStepper*>(self);
  const int slot = first_row / kRowPadding % kRowSlots;
  uint32_t* words = it.row_words_ + int64_t{slot} * it.num_instrs_ * kRowPadding;
  if (it.row_tags_[slot] == first_row) return words;
  for (int32_t lane = 0; lane < kRowPadding; ++lane) {
    const int32_t row = first_row + (lane < num_rows ? lane : 0);
    it.lane_queries_[lane] = it.item_.positions[row];
    it.lane_heads_[lane] = it.item_.first_head + (it.item_.first_row + row) % it.item_.group;
  }
  it.run_columns(kRows, kRowPadding);
  it.store_columns(it.row_values_, it.num_row_values_, kRowPadding, words);
  it.row_tags_[slot] = first_row;
  return words;
}

const uint32_t* ScoreStepper::of_keys(void* self, int32_t first_key) {
  ScoreStepper& it = *static_cast<ScoreStepper*>(self);
  const int slot = first_key / kTileKeys % kKeySlots;
  uint32_t* words = it.key_words_ + int64_t{slot} * it.num_instrs_ * kTileKeys;
  if (it.key_tags_[slot] == first_key) return words;
  for (int32_t lane = 0; lane < kTileKeys; ++lane)
    it.lane_keys_[lane] = position_of(it.shard_, first_key + lane);
  it.run_columns(kKeys, kTileKeys);
  it.store_columns(it.key_values_, it.num_key_values_, kTileKeys, words);
  it.key_tags_[slot] = first_key;
  return words;
}

void ScoreStepper::store_columns(const int32_t* instrs, int32_t num_values, int count,
                                 uint32_t* to) const {
  for (int32_t i = 0; i < num_values; ++i) {
    const Type type = program_.code[static_cast<size_t>(instrs[i])].type;
    const mask::Value* from = columns_ + int64_t{instrs[i]} * kTileKeys;
    for (int lane = 0; lane < count; ++lane) *to++ = word_of(type, from[lane]);
  }
}

void ScoreStepper::run_columns(uint8_t needed, int count) {
  for (int32_t i = 0; i < num_instrs_; ++i)
    if ((instrs_[i].needed & needed) != 0)
      run_column(program_.code[static_cast<size_t>(i)], count, columns_ + int64_t{i} * kTileKeys);
}

void ScoreStepper::run_column(const mask::Instr& instr, int count, mask::Value* to) {
  if (instr.args[0] < 0) {
    for (int lane = 0; lane < count; ++lane) to[lane] = leaf(instr, lane);
    return;
  }
  const mask::Value* args[mask::kMaxArgs];
  for (int a = 0; a < mask::kMaxArgs; ++a)
    args[a] = columns_ + int64_t{std::max(instr.args[a], 0)} * kTileKeys;
  if (instr.op == Op::lookup) {
    const mask::Table& table = bindings_.table(instr.value);
    const mask::TableSymbol& symbol = bindings_.table_symbol(instr.value);
    for (int lane = 0; lane < count; ++lane) {
      const int64_t indices[] = {args[0][lane].i, args[1][lane].i, args[2][lane].i};
      to[lane] = table.lookup(symbol, indices);
    }
    return;
  }
  const auto each = [&](auto f) {
    for (int lane = 0; lane < count; ++lane) to[lane] = f(args[0][lane], args[1][lane]);
  };
  // By far the most frequent; everything else goes through the general function.
  if (instr.type == Type::integer && instr.op == Op::subtract)
    return each([](auto a, auto b) -> mask::Value { return {.i = mask::wrap_subtract(a.i, b.i)}; });
  if (instr.type == Type::real && instr.op == Op::multiply)
    return each([](auto a, auto b) -> mask::Value { return {.f = a.f * b.f}; });
  if (instr.type == Type::real && instr.op == Op::add)
    return each([](auto a, auto b) -> mask::Value { return {.f = a.f + b.f}; });
  if (instr.op == Op::to_real)
    return each([](auto a, auto) -> mask::Value { return {.f = static_cast<float>(a.i)}; });
  for (int lane = 0; lane < count; ++lane)
    to[lane] = mask::apply(instr.op, instr.arg_type, args[0][lane], args[1][lane], args[2][lane]);
}

mask::Value ScoreStepper::leaf(const mask::Instr& instr, int lane) const {
  if (instr.op == Op::parameter) return bindings_.parameter(instr.value);
  if (instr.op == Op::constant) {
    if (instr.type != Type::real) return {.i = instr.value};
    return {.f = std::bit_cast<float>(static_cast<int32_t>(instr.value))};
  }
  switch (static_cast<Variable>(instr.value)) {
    case Variable::query:
      return {.i = lane_queries_[lane]};
    case Variable::key:
      return {.i = lane_keys_[lane]};
    case Variable::head:
      return {.i = lane_heads_[lane]};
    case Variable::score:
      return {};
    default:
      return {.i = item_.point.variables[instr.value]};
  }
}

}  // namespace pagoda::cpu

#include "rows.h"

#include <algorithm>
#include <bit>

#include "lane_machine.h"

namespace pagoda::mask {

namespace {

bool same(const Value& a, const Value& b) {
  return a.i == b.i && std::bit_cast<uint32_t>(a.f) == std::bit_cast<uint32_t>(b.f);
}

}  // namespace

RowEvaluator::RowEvaluator(const Program& program, const Bindings& bindings)
    : whole_(program), program_(&whole_), bindings_(bindings), own_(new std::byte[bytes(program)]) {
  lay_out(own_.get());
}

RowEvaluator::RowEvaluator(const Program& program, const Bindings& bindings, const LaneMath& math,
                           std::byte* memory)
    : whole_(program), program_(&whole_), bindings_(bindings), math_(math) {
  lay_out(memory);
}

namespace {

// Of both forms of a program.
int32_t lane_buffers_of(const Program& program) {
  const int32_t own = program.num_lane_buffers;
  return program.within_period ? std::max(own, program.within_period->num_lane_buffers) : own;
}
int32_t bit_buffers_of(const Program& program) {
  const int32_t own = program.num_bit_buffers;
  return program.within_period ? std::max(own, program.within_period->num_bit_buffers) : own;
}

}  // namespace

size_t RowEvaluator::bytes(const Program& program) {
  const size_t code = program.code.size();
  return static_cast<size_t>(lane_buffers_of(program) * kLaneBytes) + code * sizeof(Value) +
         static_cast<size_t>(bit_buffers_of(program)) * (kMaxLanes / 32) * sizeof(uint32_t) + code;
}

// The most strictly aligned first.
void RowEvaluator::lay_out(std::byte* memory) {
  const size_t code = whole_.code.size();
  lanes_ = memory;
  memory += lane_buffers_of(whole_) * kLaneBytes;
  scalars_ = reinterpret_cast<Value*>(memory);
  memory += code * sizeof(Value);
  bits_ = reinterpret_cast<uint32_t*>(memory);
  memory += static_cast<size_t>(bit_buffers_of(whole_)) * (kMaxLanes / 32) * sizeof(uint32_t);
  changed_ = reinterpret_cast<uint8_t*>(memory);
  std::fill_n(scalars_, code, Value{});
  std::fill_n(changed_, code, uint8_t{0});
  for (size_t i = 0; i < code; ++i) {
    const Instr& instr = program_->code[i];
    if (instr.op == Op::constant && instr.type == Type::real)
      scalars_[i].f = std::bit_cast<float>(static_cast<int32_t>(instr.value));
    if (instr.op == Op::constant && instr.type != Type::real) scalars_[i].i = instr.value;
  }
}

void RowEvaluator::set_request(const Point& request) {
  point_ = request;
  // A linear integer is stored by its value at k = 0.
  point_[Variable::key] = 0;
  program_ = &whole_;
  run_request();
}

void RowEvaluator::set_keys(int64_t first, int width, const Pruning& pruning) {
  first_ = first;
  width_ = width;
  pruning_ = pruning;
  is_first_row_ = true;
  program_ = find_periods() ? whole_.within_period.get() : &whole_;
  if (pruning.narrow)
    run_keys<int32_t>();
  else
    run_keys<int64_t>();
}

void RowEvaluator::mask_row(int64_t query, uint32_t* bits) {
  point_[Variable::query] = query;
  run_row();
  const size_t index =
      pruning_.root < 0 ? program_->code.size() - 1 : static_cast<size_t>(pruning_.root);
  const Instr& root = program_->code[index];
  const int words = width_ / 32;
  if (root.buffer < 0) {
    std::fill_n(bits, words, scalars_[index].i != 0 ? ~0u : 0u);
  } else {
    const uint32_t* from = bits_ + static_cast<int64_t>(root.buffer) * (kMaxLanes / 32);
    for (int w = 0; w < words; ++w) bits[w] = from[w];
  }
}

void RowEvaluator::score_row(int64_t query, float* scores) {
  point_[Variable::query] = query;
  score_ = scores;
  run_row();
  const Instr& root = program_->root();
  if (root.buffer < 0) {
    std::fill_n(scores, width_, scalars_[program_->code.size() - 1].f);
  } else {
    const std::byte* from = lanes_ + root.buffer * kLaneBytes;
    std::copy_n(reinterpret_cast<const float*>(from), width_, scores);
  }
}

void RowEvaluator::run_request() {
  for (int32_t index : program_->scalars[0])
    scalars_[static_cast<size_t>(index)] = scalar_of(program_->code[static_cast<size_t>(index)]);
}

// Whether the keys lie within one period of everything that has one. What is linear only there gets
// its value at k = 0, as if the period went on to it, and so does what is computed from it.
bool RowEvaluator::find_periods() {
  if (whole_.within_period == nullptr) return false;
  const Program& program = *whole_.within_period;
  for (int32_t index : program.scalars[0]) {
    const Instr& instr = program.code[static_cast<size_t>(index)];
    if (instr.rank != Rank::key || !pruning_.needs(index)) continue;
    if (!instr.is_periodic)
      scalars_[static_cast<size_t>(index)] = scalar_of(instr);
    else if (!set_periodic(index))
      return false;
  }
  return true;
}

bool RowEvaluator::set_periodic(int32_t index) {
  const std::vector<Instr>& code = whole_.within_period->code;
  const Instr& instr = code[static_cast<size_t>(index)];
  const auto a = static_cast<size_t>(instr.args[0]), b = static_cast<size_t>(instr.args[1]);
  const Linear dividend{scalars_[a].i, code[a].slope};
  const int64_t divisor = scalars_[b].i;
  if (!is_tame(dividend)) return false;
  const int64_t first = dividend.base + dividend.slope * first_;
  const int64_t last = first + dividend.slope * (width_ - 1);
  if (floor_divide(first, divisor) != floor_divide(last, divisor)) return false;
  const int64_t value =
      instr.op == Op::modulo ? floor_modulo(first, divisor) : floor_divide(first, divisor);
  scalars_[static_cast<size_t>(index)].i = wrap_subtract(value, wrap_multiply(instr.slope, first_));
  return true;
}

void RowEvaluator::run_row() {
  for (int32_t index : program_->scalars[1]) {
    if (!pruning_.needs(index)) continue;
    Value& scalar = scalars_[static_cast<size_t>(index)];
    const Value value = scalar_of(program_->code[static_cast<size_t>(index)]);
    changed_[static_cast<size_t>(index)] = !same(value, scalar);
    scalar = value;
  }
  if (pruning_.narrow)
    run_elements<int32_t>();
  else
    run_elements<int64_t>();
  is_first_row_ = false;
}

template <class Int>
void RowEvaluator::run_keys() {
  LaneMachine<Int> machine(*this);
  for (int32_t index : program_->vectors[0])
    if (pruning_.needs(index)) machine.run(program_->code[static_cast<size_t>(index)]);
}

// What depends on nothing that changed since the row before stays: a document id compared with
// those of the keys is compared once per document, not once per query.
template <class Int>
void RowEvaluator::run_elements() {
  LaneMachine<Int> machine(*this);
  for (int32_t index : program_->vectors[1]) {
    if (!pruning_.needs(index)) continue;
    const Instr& instr = program_->code[static_cast<size_t>(index)];
    uint8_t changed = instr.args[0] < 0;  // the score
    for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i)
      changed |= changed_[static_cast<size_t>(instr.args[i])];
    changed_[static_cast<size_t>(index)] = changed;
    if (changed != 0 || is_first_row_) machine.run(instr);
  }
}

Value RowEvaluator::scalar_of(const Instr& instr) const {
  const auto arg = [&](int i) -> const Value& {
    return scalars_[static_cast<size_t>(instr.args[i])];
  };
  if (instr.op == Op::variable) return {.i = point_.variables[instr.value]};
  if (instr.op == Op::parameter) return bindings_.parameter(instr.value);
  // By far the most frequent; everything else goes through the general function.
  if (instr.type == Type::integer && instr.op == Op::add)
    return {.i = wrap_add(arg(0).i, arg(1).i)};
  if (instr.type == Type::integer && instr.op == Op::subtract)
    return {.i = wrap_subtract(arg(0).i, arg(1).i)};
  const Value a = arg(0);
  const Value b = instr.args[1] < 0 ? Value{} : arg(1);
  const Value c = instr.args[2] < 0 ? Value{} : arg(2);
  if (instr.op != Op::lookup) return apply(instr.op, instr.arg_type, a, b, c);
  const int64_t indices[kMaxArgs] = {a.i, b.i, c.i};
  return bindings_.table(instr.value).lookup(bindings_.table_symbol(instr.value), indices);
}

}  // namespace pagoda::mask

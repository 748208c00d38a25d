#include "rows.h"

#include <algorithm>
#include <bit>

#include "lane_machine.h"

namespace pagoda::mask {

RowEvaluator::RowEvaluator(const Program& program, const Bindings& bindings)
    : program_(program),
      bindings_(bindings),
      scalars_(program.code.size()),
      lanes_(static_cast<size_t>(program.num_lane_buffers * kLaneBytes)),
      bits_(static_cast<size_t>(program.num_bit_buffers) * (kMaxLanes / 32)) {}

void RowEvaluator::set_request(const Point& request) {
  point_ = request;
  // A linear integer is stored by its value at k = 0.
  point_[Variable::key] = 0;
  run_scalars(0);
}

void RowEvaluator::set_keys(int64_t first, int width, bool narrow) {
  first_ = first;
  width_ = width;
  narrow_ = narrow;
  run_vectors(0);
}

void RowEvaluator::mask_row(int64_t query, uint32_t* bits) {
  point_[Variable::query] = query;
  run_scalars(1);
  run_vectors(1);
  const Instr& root = program_.root();
  const int words = width_ / 32;
  if (root.buffer < 0) {
    std::fill_n(bits, words, scalars_.back().i != 0 ? ~0u : 0u);
  } else {
    const uint32_t* from = bits_.data() + static_cast<int64_t>(root.buffer) * (kMaxLanes / 32);
    std::copy_n(from, words, bits);
  }
}

void RowEvaluator::score_row(int64_t query, float* scores) {
  point_[Variable::query] = query;
  score_ = scores;
  run_scalars(1);
  run_vectors(1);
  const Instr& root = program_.root();
  if (root.buffer < 0) {
    std::fill_n(scores, width_, scalars_.back().f);
  } else {
    const std::byte* from = lanes_.data() + root.buffer * kLaneBytes;
    std::copy_n(reinterpret_cast<const float*>(from), width_, scores);
  }
}

void RowEvaluator::run_scalars(int list) {
  for (int32_t index : program_.scalars[list])
    scalars_[static_cast<size_t>(index)] = scalar_of(program_.code[static_cast<size_t>(index)]);
}

void RowEvaluator::run_vectors(int list) {
  const auto run = [&](auto machine) {
    for (int32_t index : program_.vectors[list])
      machine.run(program_.code[static_cast<size_t>(index)]);
  };
  if (narrow_)
    run(LaneMachine<int32_t>(*this));
  else
    run(LaneMachine<int64_t>(*this));
}

Value RowEvaluator::scalar_of(const Instr& instr) const {
  if (instr.op == Op::constant && instr.type == Type::real)
    return {.f = std::bit_cast<float>(static_cast<int32_t>(instr.value))};
  if (instr.op == Op::constant) return {.i = instr.value};
  if (instr.op == Op::parameter) return bindings_.parameter(instr.value);
  if (instr.op == Op::variable) return {.i = point_.variables[instr.value]};
  Value args[kMaxArgs];
  for (int i = 0; i < kMaxArgs && instr.args[i] >= 0; ++i)
    args[i] = scalars_[static_cast<size_t>(instr.args[i])];
  if (instr.op != Op::lookup) return apply(instr.op, instr.arg_type, args[0], args[1], args[2]);
  const int64_t indices[kMaxArgs] = {args[0].i, args[1].i, args[2].i};
  return bindings_.table(instr.value).lookup(bindings_.table_symbol(instr.value), indices);
}

}  // namespace pagoda::mask

#include "score_rows.h"

#include <new>

#include "scratch.h"

namespace pagoda::cpu {
namespace {

constexpr int64_t kAlign = 64;

const mask::Program& program_of(const Problem& problem) {
  const mask::BoundExpr& score = *problem.score_expr;
  return problem.shard.is_whole() ? score.program : score.dealt;
}

int32_t evaluators_of(const Problem& problem) {
  if (problem.score_expr == nullptr) return 0;
  return problem.score_expr->program.uses(mask::Variable::head) ? problem.group() : 1;
}

size_t aligned(size_t size) {
  return static_cast<size_t>(round_up(static_cast<int64_t>(size), kAlign));
}

size_t bytes_of_objects(int32_t count) {
  return aligned(static_cast<size_t>(count) * sizeof(mask::RowEvaluator));
}

}  // namespace

bool is_narrow(const mask::BoundExpr& score, const Problem& problem, std::byte* memory) {
  mask::Analyzer analyzer(program_of(problem), score.bindings, memory);
  const Limits& limits = problem.limits;
  mask::Box box{};
  box.set(mask::Variable::request, 0, limits.max_reqs);
  box.set(mask::Variable::head, 0, problem.num_heads);
  box.set(mask::Variable::kv_head, 0, problem.num_kv_heads);
  box.set(mask::Variable::seq_len, 0, limits.max_seq_len);
  box.set(mask::Variable::query_len, 0, limits.max_query_len);
  analyzer.set_request(box);
  analyzer.set_queries(-int64_t{limits.max_query_len}, limits.max_seq_len);
  // Evaluators run on to the end of a tile.
  analyzer.decide(0, int64_t{limits.max_seq_len} + int64_t{kTileKeys} * problem.shard.num_ranks);
  return analyzer.all_narrow();
}

size_t ScoreRows::bytes(const Problem& problem) {
  const int32_t count = evaluators_of(problem);
  if (count == 0) return 0;
  const mask::Program& program = program_of(problem);
  const size_t each = aligned(mask::RowEvaluator::bytes(program));
  return bytes_of_objects(count) + static_cast<size_t>(count) * each +
         aligned(sizeof(ScoreStepper)) + aligned(ScoreStepper::bytes(program)) +
         aligned(mask::Analyzer::bytes(program));
}

ScoreRows::ScoreRows(const Problem& problem, const Kernels& kernels, bool narrow, std::byte* memory)
    : group_(problem.group()), num_evaluators_(evaluators_of(problem)) {
  if (num_evaluators_ == 0) return;
  const mask::Bindings& bindings = problem.score_expr->bindings;
  const mask::Program& program = program_of(problem);
  pruning_.narrow = narrow;
  evaluators_ = reinterpret_cast<mask::RowEvaluator*>(memory);
  memory += bytes_of_objects(num_evaluators_);
  for (int32_t i = 0; i < num_evaluators_; ++i) {
    auto* evaluator = new (evaluators_ + i)
        mask::RowEvaluator(program, bindings, {.exp = kernels.exp, .tanh = kernels.tanh}, memory);
    evaluator->deal_keys(problem.shard);
    memory += aligned(mask::RowEvaluator::bytes(program));
  }
  if (!narrow || !kernels.takes_score_steps || ScoreStepper::bytes(program) == 0) return;
  stepper_ = new (memory)
      ScoreStepper(program, bindings, problem.shard, memory + aligned(sizeof(ScoreStepper)));
}

void ScoreRows::set_item(const mask::Point& request, int32_t first_head, int64_t first_row,
                         const int32_t* position) {
  if (stepper_ != nullptr && stepper_->steps() != nullptr)
    return stepper_->set_item({request, first_head, group_, first_row, position});
  mask::Point point = request;
  for (int32_t i = 0; i < num_evaluators_; ++i) {
    point[mask::Variable::head] = first_head + i;
    evaluators_[i].set_request(point);
  }
  first_row_ = first_row;
  position_ = position;
  first_key_ = -1;
}

void ScoreRows::apply(void* self, int32_t row, int32_t first_key, float* logits) {
  ScoreRows& it = *static_cast<ScoreRows*>(self);
  if (first_key != it.first_key_) {
    for (int32_t i = 0; i < it.num_evaluators_; ++i)
      it.evaluators_[i].set_keys(first_key, kTileKeys, it.pruning_);
    it.first_key_ = first_key;
  }
  const int64_t head = it.num_evaluators_ == 1 ? 0 : (it.first_row_ + row) % it.group_;
  it.evaluators_[head].score_row(it.position_[row], logits);
}

}  // namespace pagoda::cpu

// A score expression over the rows of an item: one evaluator for each head that the expression can
// tell apart, and the expression as steps for a kernel that takes those, in memory of the thread's.
#pragma once

#include "../mask/analyzer.h"
#include "../mask/bound_expr.h"
#include "../mask/rows.h"
#include "../plan/problem.h"
#include "kernels.h"
#include "score_steps.h"

namespace pagoda::cpu {

// Whether every integer of the expression fits 32 bits wherever a plan's limits allow.
// memory: [mask::Analyzer::bytes], aligned to 64
bool is_narrow(const mask::BoundExpr& score, const Problem& problem, std::byte* memory);

class ScoreRows {
 public:
  // Bytes that one thread needs, a multiple of 64; 0 without an expression.
  static size_t bytes(const Problem& problem);

  // memory: [bytes], aligned to 64. Both outlive this.
  ScoreRows(const Problem& problem, const Kernels& kernels, bool narrow, std::byte* memory);

  // Before the rows of an item. first_row: its head within the group. `request` has every variable
  // but q, k and the head, which is first_head for the group's first.
  void set_item(const mask::Point& request, int32_t first_head, int64_t first_row,
                const int32_t* position);

  // null without an expression
  ScoreFunction function() {
    return {evaluators_ != nullptr ? apply : nullptr, this,
            stepper_ != nullptr ? stepper_->steps() : nullptr};
  }

 private:
  static void apply(void* self, int32_t row, int32_t first_key, float* logits);

  const int32_t group_;
  const int32_t num_evaluators_;
  mask::RowEvaluator* evaluators_ = nullptr;  // [num_evaluators]
  ScoreStepper* stepper_ = nullptr;           // null: none
  mask::Pruning pruning_;
  int64_t first_row_ = 0;
  const int32_t* position_ = nullptr;  // [num_rows]
  int32_t first_key_ = -1;             // that the evaluators are set to
};

}  // namespace pagoda::cpu

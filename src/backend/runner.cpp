#include "runner.h"

#include <optional>

namespace pagoda {
namespace {

class Run {
 public:
  Run(Backend& backend, Ranks* ranks, const Prepared& prepared, const LayerCall& own)
      : backend_(backend), ranks_(ranks), prepared_(prepared), own_(own), current_(&own) {}

  void operator()(const GatherQueries&) {
    gathered_ = ranks_->gather_queries(prepared_, own_);
    current_ = &*gathered_;
  }

  void operator()(const Attend& step) {
    backend_.attend(prepared_, step, current_->layer, current_->operands);
  }

  void operator()(const ReduceStates& step) {
    ranks_->reduce_states(prepared_, step, *current_, own_);
  }

 private:
  Backend& backend_;
  Ranks* ranks_;
  const Prepared& prepared_;
  const LayerCall& own_;
  std::optional<LayerCall> gathered_;
  const LayerCall* current_;
};

}  // namespace

void run_plan(Backend& backend, Ranks* ranks, const Plan& plan, const Prepared& prepared,
              const Layer& layer, const Operands& operands) {
  const LayerCall own{layer, operands};
  Run run(backend, ranks, prepared, own);
  for (const Step& step : plan.steps) std::visit(run, step);
}

}  // namespace pagoda

#include "runner.h"

#include <optional>

namespace pagoda {
namespace {

// Most plans have a single step and no ranks: nothing is copied for those.
class Run {
 public:
  Run(Backend& backend, Ranks* ranks, const Prepared& prepared, const Layer& layer,
      const Operands& operands)
      : backend_(backend), ranks_(ranks), prepared_(prepared), layer_(layer), operands_(operands) {}

  void operator()(const GatherQueries&) { gathered_ = ranks_->gather_queries(prepared_, own()); }

  void operator()(const Attend& step) {
    if (gathered_)
      backend_.attend(prepared_, step, gathered_->layer, gathered_->operands);
    else
      backend_.attend(prepared_, step, layer_, operands_);
  }

  void operator()(const ReduceStates& step) {
    ranks_->reduce_states(prepared_, step, gathered_ ? *gathered_ : own(), own());
  }

 private:
  LayerCall own() const { return {layer_, operands_}; }

  Backend& backend_;
  Ranks* ranks_;
  const Prepared& prepared_;
  const Layer& layer_;
  const Operands& operands_;
  std::optional<LayerCall> gathered_;
};

}  // namespace

void run_plan(Backend& backend, Ranks* ranks, const Plan& plan, const Prepared& prepared,
              const Layer& layer, const Operands& operands) {
  Run run(backend, ranks, prepared, layer, operands);
  for (const Step& step : plan.steps) std::visit(run, step);
}

}  // namespace pagoda

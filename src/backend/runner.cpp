#include "runner.h"

namespace pagoda {
namespace {

struct Run {
  Backend& backend;
  const Prepared& prepared;
  const Layer& layer;
  const Operands& operands;

  void operator()(const Attend& step) const { backend.attend(prepared, step, layer, operands); }
};

}  // namespace

void run_plan(Backend& backend, const Plan& plan, const Prepared& prepared, const Layer& layer,
              const Operands& operands) {
  for (const Step& step : plan.steps) std::visit(Run{backend, prepared, layer, operands}, step);
}

}  // namespace pagoda

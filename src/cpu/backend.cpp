// The CPU backend: the functions of backend.h in terms of the files beside this one.
#include "../backend/backend.h"

#include "../backend/check_batch.h"
#include "attend.h"
#include "merge.h"
#include "schedule.h"
#include "select.h"
#include "threads.h"
#include "update_cache.h"

namespace pagoda::cpu {
namespace {

const Kernels& functions_of(const Kernel& kernel) {
  return *static_cast<const CpuKernel&>(kernel).functions;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : kernels_(available_kernels(options.isa)),
        pool_(options.num_threads, {options.run_tasks, options.host}) {}

  const char* name() const override { return "cpu"; }
  bool takes_streams() const override { return false; }
  bool groups_requests() const override { return true; }

  std::string machine() const override {
    const int threads = pool_.num_threads();
    return std::string(kernels_.front().isa) + " (of " + names_of(kernels_, "") + "), " +
           std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  }

  Selection select(const Problem& problem) const override {
    return select_kernel(kernels_, problem);
  }

  void add_workspace(const Problem& problem, const Kernel& kernel,
                     WorkspaceMap& map) const override {
    const Geometry geometry(problem, functions_of(kernel));
    add_schedule_regions(problem, geometry, pool_.num_threads(), map);
  }

  void schedule(const Prepared& prepared) override {
    check_batch_on_host(prepared.problem, prepared.batch);
    make_schedule(prepared, functions_of(prepared.kernel), geometry_of(prepared),
                  pool_.num_threads());
  }

  pagoda_step_info step_info(const Prepared& prepared) const override {
    return info_of(prepared.problem, Schedule(prepared).header->summary);
  }

  std::string describe_cascade(const Prepared& prepared) const override {
    return describe(prepared.problem, Schedule(prepared).header->summary);
  }

  void update_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                    const TensorView& value) override {
    write_cache(prepared, layer, key, value, functions_of(prepared.kernel), pool_);
  }

  void attend(const Prepared& prepared, const Attend& step, const Layer& layer,
              const Operands& operands) override {
    if (step.keys == Keys::call) check_keys_on_host(prepared.batch, operands.key.shape[0]);
    attend_step(prepared, step, layer, operands, functions_of(prepared.kernel),
                geometry_of(prepared), pool_);
  }

  void quantise_query(const QueryCodes& operands, Stream) override {
    write_query_codes(operands, *kernels_.front().functions, pool_);
  }

  void merge(const MergeOperands& operands, Stream) override {
    merge_states(operands, *kernels_.front().functions, pool_);
  }

 private:
  static Geometry geometry_of(const Prepared& prepared) {
    return {prepared.problem, functions_of(prepared.kernel)};
  }

  const std::vector<CpuKernel> kernels_;  // best first
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace pagoda::cpu

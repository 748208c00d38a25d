// How a step is attended here: the kernels that serve it, in one call.
#pragma once

#include "../../src/cuda/kernels/prefill_keys.h"
#include "device_step.cuh"

namespace pagoda::cuda {

class StepRunner {
 public:
  explicit StepRunner(const DeviceStep& step) : step_(step) {
    int device;
    check_cuda(cudaGetDevice(&device), "asking for the device");
    check_cuda(cudaDeviceGetAttribute(&num_sms_, cudaDevAttrMultiProcessorCount, device),
               "counting multiprocessors");
    if (step.is_mixed())
      mixed_ = find(Phase::mixed, 128), decode_ = find(Phase::rest, 8);
    else if (!step.is_general())
      decode_ = find(Phase::decode, step.schedule_params.rows_per_item);
    if (step.is_general() || (step.is_quantised() && step.max_rows() > kMaxDecodeRows))
      prefill_ = find(Phase::general, general_rows(step.spec.head_dim, step.spec.head_dim_v));
    else if (step.max_rows() > kMaxDecodeRows)
      prefill_ = find(Phase::prefill, 128);
  }

  void schedule(cudaStream_t stream) const {
    step_.schedule(decode_ ? decode_blocks(*decode_, num_sms_) : 1,
                   prefill_ ? prefill_blocks(*prefill_, num_sms_) : 0, stream);
  }
  void attend(int layer, cudaStream_t stream) const {
    if (mixed_) {
      const PrefillParams params = step_.prefill_layer(layer, prefill_keys(), false);
      for (const KernelEntry* kernel : {prefill_, mixed_})
        launch_attend(*kernel, params, num_sms_, stream);
      return launch_attend(*decode_, params.attend, num_sms_, stream);
    }
    const bool decodes = decode_ && !step_.spec.only_prefill;
    if (decodes) launch_attend(*decode_, step_.layer(layer), num_sms_, stream);
    if (prefill_ == nullptr) return;
    if (prefill_->config.phase == Phase::general)
      launch_attend(*prefill_, step_.layer(layer), num_sms_, stream);
    else
      launch_attend(*prefill_, step_.prefill_layer(layer, prefill_keys(), decodes), num_sms_,
                    stream);
  }

 private:
  const KernelEntry* find(Phase phase, int rows) const {
    const StepSpec& spec = step_.spec;
    const KernelEntry* kernel = step_.find(phase, rows);
    expect(kernel != nullptr, PAGODA_UNSUPPORTED, "no kernel of ", rows, " rows for head_dim ",
           spec.head_dim, " and head_dim_v ", spec.head_dim_v);
    prepare_kernel(*kernel);
    return kernel;
  }

  int prefill_keys() const {
    return prefill::keys_per_tile(step_.spec.head_dim, step_.spec.head_dim_v);
  }

  const DeviceStep& step_;
  int num_sms_ = 0;
  const KernelEntry* decode_ = nullptr;
  const KernelEntry* prefill_ = nullptr;
  const KernelEntry* mixed_ = nullptr;
};

}  // namespace pagoda::cuda

// The CUDA backend: the functions of backend.h in terms of the files beside this one. Host code;
// the kernels are behind kernel_table.h and launch.h.
#include "../backend/backend.h"

#include <cuda_runtime_api.h>

#include "../core/error.h"
#include "launch.h"
#include "operands.h"
#include "select.h"
#include "step_memory.h"

namespace pagoda::cuda {
namespace {

// Makes a device current while it lives.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    check_cuda(cudaGetDevice(&before_), "asking for the current device");
    if (before_ != device) check_cuda(cudaSetDevice(device), "choosing the device");
    changed_ = before_ != device;
  }
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

cudaStream_t stream_of(Stream stream) {
  return static_cast<cudaStream_t>(stream);
}

const CudaKernel& kernel_of(const Prepared& prepared) {
  return static_cast<const CudaKernel&>(prepared.kernel);
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int32_t device) : device_(device) {
    const DeviceScope scope(device_);
    check_cuda(cudaGetDeviceProperties(&properties_, device_), "reading the device's properties");
    expect(properties_.major >= 8, PAGODA_UNSUPPORTED, "device ", device_, " (", properties_.name,
           ") has compute capability ", properties_.major, ".", properties_.minor,
           "; the kernels of this build are for 8.0 and later");
    kernels_ = available_kernels(properties_.major == 9 && properties_.minor == 0);
    for (const CudaKernel& kernel : kernels_) prepare(kernel);
  }

  const char* name() const override { return "cuda"; }
  bool takes_streams() const override { return true; }

  std::string machine() const override {
    return std::string(properties_.name) + ", device " + std::to_string(device_) + ", " +
           std::to_string(properties_.multiProcessorCount) + " multiprocessors";
  }

  Selection select(const Problem& problem) const override {
    return select_kernel(kernels_, problem);
  }

  void add_workspace(const Problem& problem, const Kernel& kernel,
                     WorkspaceMap& map) const override {
    add_step_regions(problem, static_cast<const CudaKernel&>(kernel), map);
  }

  void schedule(const Prepared& prepared) override {
    const DeviceScope scope(device_);
    queue_schedule(prepared, decode_of(prepared), properties_.multiProcessorCount,
                   stream_of(prepared.stream));
  }

  void update_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                    const TensorView& value) override {
    const DeviceScope scope(device_);
    launch_update_cache(cache_write_params_of(prepared, layer, key, value),
                        stream_of(prepared.stream));
  }

  void attend(const Prepared& prepared, const Attend& step, const Layer& layer,
              const Operands& operands) override {
    if (prepared.batch.num_tokens == 0) return;
    const DeviceScope scope(device_);
    const cudaStream_t stream = stream_of(prepared.stream);
    const AttendParams params = attend_params_of(prepared, step, layer, operands);
    const int num_sms = properties_.multiProcessorCount;
    const KernelEntry* decode = decode_of(prepared);
    if (uses_mixed(prepared)) return attend_mixed(prepared, params, stream);
    if (decode != nullptr) launch_attend(*decode, params, num_sms, stream);
    if (decode != nullptr && max_rows(prepared) <= kMaxDecodeRows) return;
    const KernelEntry& prefill = *kernel_of(prepared).prefill;
    if (prefill.config.phase == Phase::general)
      launch_attend(prefill, params, num_sms, stream);
    else
      launch_attend(prefill, prefill_params_of(params, prepared, key_maps_, row_maps_), num_sms,
                    stream);
  }

  void merge(const MergeOperands& operands, Stream stream) override {
    const DeviceScope scope(device_);
    launch_merge(merge_params_of(operands), operands.out.dtype, stream_of(stream));
  }

 private:
  // Lengths are known on the device alone. Of a step with long and short requests the mixed kernel
  // attends the long ones and what it gets done of the short ones meanwhile, and the last kernel
  // the rest, beginning wherever a block of the mixed one has ended. Of a step of one kind the
  // prefill kernel or the last one attends all, and the other two end at once.
  void attend_mixed(const Prepared& prepared, const AttendParams& params, cudaStream_t stream) {
    const CudaKernel& kernel = kernel_of(prepared);
    const int num_sms = properties_.multiProcessorCount;
    const PrefillParams both = prefill_params_of(params, prepared, key_maps_, row_maps_);
    launch_attend(*kernel.prefill, both, num_sms, stream);
    launch_attend(*kernel.mixed, both, num_sms, stream);
    launch_attend(*decode_of(prepared), params, num_sms, stream);
  }
  // By the step's bound: eight rows where that is enough. Rows do not meet, so results do not
  // depend on it. Null where the kernel has none.
  static const KernelEntry* decode_of(const Prepared& prepared) {
    const CudaKernel& kernel = kernel_of(prepared);
    if (uses_mixed(prepared)) return kernel.rest;
    const bool wide = max_rows(prepared) > 8 && kernel.decode[1] != nullptr;
    return kernel.decode[wide ? 1 : 0];
  }
  static void prepare(const CudaKernel& kernel) {
    for (const KernelEntry* entry :
         {kernel.decode[0], kernel.decode[1], kernel.prefill, kernel.mixed, kernel.rest})
      if (entry != nullptr) prepare_kernel(*entry);
  }

  const int32_t device_;
  std::vector<CudaKernel> kernels_;
  KeyMaps key_maps_;
  PackedMaps row_maps_;
  cudaDeviceProp properties_ = {};
};

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  expect(options.isa.empty(), PAGODA_INVALID_ARGUMENT, "options.isa is \"", options.isa,
         "\", but backend cuda has no instruction sets to choose from; leave it NULL");
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  expect(code == cudaSuccess && count > 0, PAGODA_UNSUPPORTED, "no CUDA device: ",
         code == cudaSuccess ? "the driver reports none" : cudaGetErrorString(code));
  expect(options.device >= 0 && options.device < count, PAGODA_INVALID_ARGUMENT,
         "options.device is ", options.device, "; this machine has ", count);
  return std::make_unique<CudaBackend>(options.device);
}

}  // namespace pagoda::cuda

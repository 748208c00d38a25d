#include "engine/model/executor.h"

#include "engine/cuda/cuda_executor.h"
#include "engine/error.h"
#include "engine/model/cpu_executor.h"

namespace pagoda::engine {

const char* name_of(Device device) {
  return device == Device::kCuda ? "cuda" : "cpu";
}

std::unique_ptr<Executor> make_executor(Device device, const ModelFile& file,
                                        const DecoderOptions& options, int32_t num_drawable,
                                        const Progress& progress) {
  if (device == Device::kCuda) return make_cuda_executor(file, options, num_drawable, progress);
  return std::make_unique<CpuExecutor>(file, options, num_drawable, progress);
}

}  // namespace pagoda::engine

// What stands in the place of the CUDA executor in a build that has none.
#include "engine/cuda/cuda_executor.h"
#include "engine/error.h"

namespace pagoda::engine {

std::unique_ptr<Executor> make_cuda_executor(const ModelFile&, const DecoderOptions&, int32_t,
                                             const Progress&) {
  fail(ErrorKind::kUnsupported,
       "this build computes no steps on CUDA devices; build it with the CUDA toolkit (nvcc and "
       "cublasLt) and -DPAGODA_CUDA=ON, or leave the device cpu");
}

}  // namespace pagoda::engine

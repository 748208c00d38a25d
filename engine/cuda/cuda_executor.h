// Steps on a CUDA device: weights, cache, products, attention and the draw of tokens lie there, and
// only arrays of a step go in and tokens come out.
#pragma once

#include <memory>

#include "engine/model/executor.h"

namespace pagoda::engine {

// As make_executor. A build without CUDA has it too: it refuses, with the remedy.
std::unique_ptr<Executor> make_cuda_executor(const ModelFile& file, const DecoderOptions& options,
                                             int32_t num_drawable, const Progress& progress);

}  // namespace pagoda::engine

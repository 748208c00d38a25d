#include "engine/model/cpu_executor.h"

namespace pagoda::engine {

CpuExecutor::CpuExecutor(const ModelFile& file, const DecoderOptions& options, int32_t num_drawable,
                         const Progress& progress)
    : decoder_(file, options, progress), sampler_(num_drawable) {}

std::span<const int32_t> CpuExecutor::seen_by(const Draw& draw) {
  if (draw.guesses.empty()) return draw.tokens;
  seen_.assign(draw.tokens.begin(), draw.tokens.end());
  seen_.insert(seen_.end(), draw.guesses.begin(), draw.guesses.end());
  return seen_;
}

std::span<const Sampled> CpuExecutor::step(const StepBatch& batch, std::span<const Draw> draws) {
  const std::span<const float> logits = decoder_.forward(batch);
  const auto stride = static_cast<size_t>(config().vocab_size);
  const auto drawable = static_cast<size_t>(sampler_.vocab_size());
  sampled_.clear();
  for (size_t row = 0; row < draws.size(); row++)
    sampled_.push_back(sampler_.sample(logits.subspan(row * stride, drawable), seen_by(draws[row]),
                                       draws[row].counter, *draws[row].options));
  return sampled_;
}

}  // namespace pagoda::engine

// Steps on the host: the decoder, then the sampler, row by row.
#pragma once

#include <vector>

#include "engine/model/executor.h"

namespace pagoda::engine {

class CpuExecutor final : public Executor {
 public:
  // As make_executor.
  CpuExecutor(const ModelFile& file, const DecoderOptions& options, int32_t num_drawable,
              const Progress& progress);

  const ModelConfig& config() const override { return decoder_.config(); }
  const DecoderOptions& options() const override { return decoder_.options(); }
  const std::vector<LayerGroup>& groups() const override { return decoder_.groups(); }
  std::string describe() const override { return decoder_.describe(); }
  KeyReads key_reads() const override { return decoder_.key_reads(); }
  std::string mask_picture() const override { return decoder_.mask_picture(); }

  std::span<const Sampled> step(const StepBatch& batch, std::span<const Draw> draws) override;

 private:
  std::span<const int32_t> seen_by(const Draw& draw);

  Decoder decoder_;
  Sampler sampler_;
  std::vector<Sampled> sampled_;  // [draws] of this step
  std::vector<int32_t> seen_;     // tokens of a request and guesses behind them
};

}  // namespace pagoda::engine
